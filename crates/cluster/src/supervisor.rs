//! The supervisor: keeps the processes of a whole cluster on one machine, and takes orders to stop, start, kill and freeze.
//!
//! One loop, one thread, no plug-ins. It starts what shall run and does not, with a growing pause between tries; it ends
//! everything when it is told to. It holds no state that is not in the table on disk, so its own death loses nothing.

use crate::control::{self, Order, Verb};
use crate::process::{self, Identity};
use crate::schema::{Of, Schema};
use crate::table::{Row, Table};
use crate::{ClusterError, Host, Local, ProcessKind, Role, Target, address, http, teardown};
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(50);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A process that ran so long was well until something befell it: a node that steps down, a killed process. It starts
/// again at once, and only if it ends sooner than this does it wait, longer each time.
const WELL_AFTER: Duration = Duration::from_secs(5);
/// After a polite stop, SIGKILL. PostgreSQL writes a checkpoint before it ends.
const STOP_WITHIN: Duration = Duration::from_secs(60);
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Keeps the processes of a cluster.
#[derive(Debug)]
pub struct Supervisor {
    local: Local,
    slots: Vec<Slot>,
    listener: UnixListener,
    /// Patroni polls for etcd every five seconds; it is started when there is one instead.
    etcd_seen: bool,
    /// Nodes start when it is ready: without it they would only end again, with a longer pause each time.
    journal_schema: Schema,
    /// Likewise the projection. It is made after the journal's, on which it builds.
    projection_schema: Schema,
    written: Table,
    /// Why the table could not be written, the last time.
    unsaved: Option<String>,
    _lock: File,
}

#[derive(Debug)]
struct Slot {
    host: Host,
    kind: ProcessKind,
    wanted: bool,
    child: Option<Child>,
    process: Option<Identity>,
    started: Instant,
    next_start: Instant,
    pause: Duration,
    kill_at: Option<Instant>,
    restarts: u64,
    last_exit: Option<String>,
}

impl Supervisor {
    /// Takes a cluster's directory; nothing is started yet.
    ///
    /// # Errors
    /// Another supervisor has it, processes of an earlier one still run, or the disk refuses.
    pub fn new(local: Local) -> Result<Self, ClusterError> {
        let directory = local.directory().to_owned();
        let path = directory.join("run").join("supervisor.lock");
        let lock = File::create(&path).map_err(|e| ClusterError::io("create", &path, e))?;
        if lock.try_lock().is_err() {
            let detail = "its supervisor lives".to_owned();
            return Err(ClusterError::Running { directory, detail });
        }
        let table = Table::read(&directory)?;
        let left = [table.alive(), crate::table::postgres_processes(local.topology())].concat();
        if let Some((host, kind, process)) = left.first() {
            let detail = format!("{host}/{kind} is process {}", process.process_id);
            return Err(ClusterError::Running { directory, detail });
        }
        let socket = control::socket(&directory);
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).map_err(|e| ClusterError::io("listen at", &socket, e))?;
        listener
            .set_nonblocking(true)
            .map_err(|e| ClusterError::io("listen at", &socket, e))?;
        let slots = slots(&local);
        let mut supervisor = Self {
            journal_schema: Schema::new(&local, Of::Journal),
            projection_schema: Schema::new(&local, Of::Projection),
            local,
            slots,
            listener,
            etcd_seen: false,
            written: Table::default(),
            unsaved: None,
            _lock: lock,
        };
        supervisor.save()?;
        Ok(supervisor)
    }

    /// Keeps everything running until `stop` is set, then ends everything.
    ///
    /// # Errors
    /// Something would not end, or the table that says so cannot be written.
    pub fn run(mut self, stop: &AtomicBool) -> Result<(), ClusterError> {
        process::adopt_orphans()
            .map_err(|e| ClusterError::io("adopt orphans in", Path::new("/proc/self"), e))?;
        while !stop.load(Ordering::Acquire) {
            self.take_orders();
            process::bury_orphans();
            self.keep();
            self.try_save();
            std::thread::sleep(TICK);
        }
        let ended = teardown::end(&self.local, &self.table());
        for slot in &mut self.slots {
            if let Some(child) = &mut slot.child {
                let _ = child.try_wait();
            }
        }
        // What is left after a failure stays in the table, for `down` to find.
        if ended.is_ok() {
            Table::default().write(self.local.directory())?;
        }
        ended
    }

    fn take_orders(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Err(error) = control::serve(stream, &mut |order| self.carry_out(order)) {
                eprintln!("shanraq: an order was not understood or its sender is gone: {error}");
            }
        }
    }

    fn keep(&mut self) {
        let now = Instant::now();
        self.etcd_seen = self.etcd_seen || self.sees_etcd();
        if !self.journal_schema.is_ready() {
            let waits = wait(&mut self.journal_schema, &self.local, now);
            self.tell(&[ProcessKind::Node, ProcessKind::Projection], &waits);
        } else if !self.projection_schema.is_ready() {
            let waits = wait(&mut self.projection_schema, &self.local, now);
            self.tell(&[ProcessKind::Projection], &waits);
        }
        for slot in &mut self.slots {
            slot.reap(now);
            let held = match slot.kind {
                ProcessKind::Patroni => !self.etcd_seen,
                ProcessKind::Node => !self.journal_schema.is_ready(),
                ProcessKind::Projection => {
                    !(self.journal_schema.is_ready() && self.projection_schema.is_ready())
                }
                _ => false,
            };
            if slot.wanted && slot.child.is_none() && now >= slot.next_start && !held {
                slot.start(&self.local, now);
            }
        }
    }

    /// Says why processes are not started; none: nothing holds them.
    fn tell(&mut self, kinds: &[ProcessKind], why: &Option<String>) {
        for slot in self.slots.iter_mut().filter(|slot| kinds.contains(&slot.kind)) {
            slot.last_exit.clone_from(why);
        }
    }

    fn sees_etcd(&self) -> bool {
        let topology = self.local.topology();
        topology.hosts_with(Role::Etcd).any(|host| {
            let endpoint = address::at(host, topology.ports.etcd_client);
            http::get(endpoint, "/health", Duration::from_millis(200))
                .is_ok_and(|answer| answer.status == 200)
        })
    }

    fn carry_out(&mut self, order: &Order) -> Result<(), ClusterError> {
        let host = self.local.topology().host(&order.target.host)?.clone();
        self.check_target(&order.target)?;
        let data = host.directories.postgres();
        let postgres = |signal| signal_tree(&data, signal);
        match order.target.process {
            Some(ProcessKind::Postgres) => match order.verb {
                // The postmaster alone: it ends its children in good order, and Patroni starts it again.
                Verb::Stop => signal_postmaster(&data, Signal::INT),
                Verb::Start => postgres(Signal::CONT),
                Verb::Kill => postgres(Signal::KILL),
                Verb::Freeze => postgres(Signal::STOP),
            },
            Some(ProcessKind::Postmaster) => signal_postmaster(&data, signal_of(order.verb)),
            process => {
                if process.is_none() {
                    match order.verb {
                        Verb::Stop | Verb::Start => postgres(Signal::CONT),
                        Verb::Kill => postgres(Signal::KILL),
                        Verb::Freeze => postgres(Signal::STOP),
                    }
                }
                let whole = process.is_none();
                for slot in self.slots.iter_mut().filter(|slot| slot.is_of(&order.target)) {
                    slot.obey(order.verb, whole);
                }
                if whole && order.verb == Verb::Kill {
                    // Patroni, in its last moment, may have started PostgreSQL again.
                    signal_tree(&data, Signal::KILL);
                }
            }
        }
        self.try_save();
        Ok(())
    }

    fn check_target(&self, target: &Target) -> Result<(), ClusterError> {
        let is_postgres = matches!(
            target.process,
            Some(ProcessKind::Postgres | ProcessKind::Postmaster)
        );
        let sought = Target {
            process: if is_postgres {
                Some(ProcessKind::Patroni)
            } else {
                target.process
            },
            ..target.clone()
        };
        if self.slots.iter().any(|slot| slot.is_of(&sought)) {
            return Ok(());
        }
        Err(ClusterError::Refused(format!(
            "{target} does not run in this topology"
        )))
    }

    fn table(&self) -> Table {
        Table {
            boot_id: process::boot_id(),
            supervisor: Identity::of(std::process::id().cast_signed()),
            rows: self.slots.iter().map(Slot::row).collect(),
        }
    }

    /// A full disk ends nothing that runs: the table is written when there is room. Why it is not is said once for each reason.
    fn try_save(&mut self) {
        let unsaved = self.save().err().map(|error| error.to_string());
        if let Some(error) = unsaved.as_ref().filter(|_| unsaved != self.unsaved) {
            eprintln!(
                "shanraq: which processes run is not written down, so that `cluster down` would not find all: {error}"
            );
        }
        self.unsaved = unsaved;
    }

    fn save(&mut self) -> Result<(), ClusterError> {
        let table = self.table();
        if table != self.written {
            table.write(self.local.directory())?;
            self.written = table;
        }
        Ok(())
    }
}

/// Why those who need a schema wait, if they still do after its next step.
fn wait(schema: &mut Schema, local: &Local, now: Instant) -> Option<String> {
    (!schema.advance(local, now)).then(|| schema.problem())
}

fn slots(local: &Local) -> Vec<Slot> {
    let now = Instant::now();
    let topology = local.topology();
    let mut slots = Vec::new();
    for host in &topology.hosts {
        for kind in topology.processes(host) {
            if kind == ProcessKind::Postgres {
                continue;
            }
            slots.push(Slot {
                host: host.clone(),
                kind,
                wanted: true,
                child: None,
                process: None,
                started: now,
                next_start: now,
                pause: PAUSE_MIN,
                kill_at: None,
                restarts: 0,
                last_exit: None,
            });
        }
    }
    slots
}

impl Slot {
    fn is_of(&self, target: &Target) -> bool {
        self.host.name == target.host && target.process.is_none_or(|kind| kind == self.kind)
    }

    fn row(&self) -> Row {
        Row {
            host: self.host.name.clone(),
            kind: self.kind,
            process: self.process,
            wanted: self.wanted,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
        }
    }

    fn start(&mut self, local: &Local, now: Instant) {
        if self.last_exit.is_some() && self.wanted {
            self.restarts += 1;
        }
        match self.spawn(local) {
            Ok(child) => {
                self.process = Identity::of(child.id().cast_signed());
                self.child = Some(child);
                self.started = now;
            }
            Err(error) => self.put_off(now, format!("not started: {error}")),
        }
    }

    fn spawn(&self, local: &Local) -> Result<Child, ClusterError> {
        let path = self.host.directories.log.join(format!("{}.log", self.kind));
        if fs::metadata(&path).is_ok_and(|file| file.len() > LOG_BYTES_MAX) {
            let old = path.with_extension("log.1");
            fs::rename(&path, &old).map_err(|e| ClusterError::io("rename", &path, e))?;
        }
        let open = || File::options().create(true).append(true).open(&path);
        let log = open().map_err(|e| ClusterError::io("open", &path, e))?;
        let errors = log.try_clone().map_err(|e| ClusterError::io("open", &path, e))?;
        let mut command = local
            .command(&self.host, self.kind)
            .expect("every slot is of a kind that is started by us");
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // A group of its own: Ctrl-C is for us alone, and keepalived signals its whole group when it ends.
            .process_group(0)
            .spawn()
            .map_err(|e| ClusterError::io("run", Path::new(command.get_program()), e))
    }

    /// Looks whether the child ended, and kills one that was asked to end long ago.
    fn reap(&mut self, now: Instant) {
        let Some(child) = &mut self.child else { return };
        if let Ok(Some(status)) = child.try_wait() {
            self.child = None;
            self.process = None;
            self.kill_at = None;
            if now.duration_since(self.started) >= WELL_AFTER {
                self.pause = Duration::ZERO;
            }
            self.put_off(now, status.to_string());
        } else if self.kill_at.is_some_and(|at| now >= at) {
            self.send(Signal::KILL);
        }
    }

    fn put_off(&mut self, now: Instant, why: String) {
        self.last_exit = Some(why);
        self.next_start = now + self.pause;
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
    }

    fn obey(&mut self, verb: Verb, whole_host: bool) {
        let now = Instant::now();
        match verb {
            Verb::Stop => {
                self.wanted = false;
                self.kill_at = Some(now + STOP_WITHIN);
                self.send(Signal::TERM);
                self.send(Signal::CONT);
            }
            Verb::Start => {
                self.wanted = true;
                self.kill_at = None;
                self.next_start = now;
                self.pause = PAUSE_MIN;
                self.send(Signal::CONT);
            }
            Verb::Kill => {
                self.wanted = self.wanted && !whole_host;
                self.send(Signal::KILL);
            }
            Verb::Freeze => self.send(Signal::STOP),
        }
    }

    fn send(&self, signal: Signal) {
        if let Some(process) = self.process {
            process.signal(signal);
        }
    }
}

fn signal_of(verb: Verb) -> Signal {
    match verb {
        Verb::Stop => Signal::INT,
        Verb::Start => Signal::CONT,
        Verb::Kill => Signal::KILL,
        Verb::Freeze => Signal::STOP,
    }
}

fn signal_postmaster(data: &Path, signal: Signal) {
    if let Some(postmaster) = process::postmaster(data) {
        postmaster.signal(signal);
    }
}

/// The postmaster first, so that it makes no more children; then as often as there are some that did not get it.
pub(crate) fn signal_tree(data: &Path, signal: Signal) {
    signal_postmaster(data, signal);
    let mut done: Vec<Identity> = Vec::new();
    loop {
        let new: Vec<Identity> = process::working_in(data)
            .into_iter()
            .filter(|process| !done.contains(process))
            .collect();
        if new.is_empty() {
            return;
        }
        for process in new {
            process.signal(signal);
            done.push(process);
        }
    }
}
