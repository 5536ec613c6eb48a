//! One server: starting, asking, changing, freezing and ending it.

use crate::SUPERUSER;
use crate::process::{append, program, run_as_postgres, spawn_as_postgres, write_private};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sessions are ended by the server, the WAL is flushed to the standbys.
    Fast,
    /// As after a crash, but told to the children.
    Immediate,
    /// `kill -9` of the postmaster and all its children.
    Crash,
}

/// One PostgreSQL server with its data directory.
pub struct Server {
    /// `pg1` is the primary at first, `pg2` and so on the standbys.
    pub name: String,
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// The data directory.
    pub data: PathBuf,
    password: String,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(name: &str, data: PathBuf, password: &str) -> Self {
        Self {
            name: name.to_owned(),
            port: free_port(),
            data,
            password: password.to_owned(),
            environment: Vec::new(),
            child: None,
        }
    }

    /// Adds a variable to the server's environment; it counts from the next start on.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let mut command = Command::new(program("postgres"));
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()]);
        command.envs(self.environment.iter().cloned());
        let log = log.expect("a log can be written");
        let deadline = Instant::now() + PATIENCE;
        // Sessions of a server that crashed may not have ended yet, and while they hold its memory no other starts.
        while self.child.is_none() {
            let own = log.try_clone().expect("a log can be written");
            let mut child = spawn_as_postgres(&command, own);
            self.child = self.comes_up(&mut child, deadline).then_some(child);
        }
    }

    /// Whether it answers before it has ended.
    fn comes_up(&self, child: &mut Child, deadline: Instant) -> bool {
        while child.try_wait().expect("it is our child").is_none() {
            if self.try_sql("postgres", "select 1").as_deref() == Ok("1") {
                return true;
            }
            let (name, is_late) = (&self.name, Instant::now() >= deadline);
            assert!(!is_late, "{name} does not start; log:\n{}", self.log());
            std::thread::sleep(POLL);
        }
        false
    }

    /// Ends it and waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self, mode: Mode) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = Pid::from_child(&child);
        match mode {
            Mode::Fast => signal(pid, Signal::INT),
            Mode::Immediate => signal(pid, Signal::QUIT),
            Mode::Crash => {
                let children = children(pid);
                signal(pid, Signal::KILL);
                for child in children {
                    signal(child, Signal::KILL);
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("it is our child").is_none() {
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(POLL);
        }
    }

    /// Begins a fast shutdown and does not wait for its end: it may be waiting for us.
    ///
    /// # Panics
    /// When it does not run.
    pub fn begin_fast_shutdown(&self) {
        signal(self.pid(), Signal::INT);
    }

    /// Runs a program of the test's own to its end, as the user whose files the server's are.
    ///
    /// # Panics
    /// When it fails.
    pub fn run_beside(&self, command: &mut Command) {
        run_as_postgres(command.env("PGPASSWORD", &self.password));
    }

    /// Has it stream from another server from its next start on.
    ///
    /// # Panics
    /// When its directory cannot be written.
    pub fn follow(&self, primary: &Self) {
        let line = format!(
            "primary_conninfo = '{} password={} application_name={}'\n",
            primary.connection(),
            self.password,
            self.name
        );
        append(&self.data.join("postgresql.auto.conf"), &line);
        write_private(&self.data.join("standby.signal"), "");
    }

    /// Where the superuser finds it, without the password.
    #[must_use]
    pub fn connection(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user={SUPERUSER} dbname=postgres",
            self.port
        )
    }

    /// Stops all its processes in their tracks, as a host without time does.
    pub fn freeze(&self) {
        for pid in self.processes() {
            signal(pid, Signal::STOP);
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        for pid in self.processes() {
            signal(pid, Signal::CONT);
        }
    }

    fn processes(&self) -> Vec<Pid> {
        let pid = self.pid();
        let mut all = vec![pid];
        all.extend(children(pid));
        all
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("the server runs"))
    }

    /// The answer of the superuser's `psql` in database `postgres`: unaligned, rows only.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    /// As [`Server::sql`] in another database.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        match self.try_sql(database, sql) {
            Ok(answer) => answer,
            Err(error) => panic!("{sql} at {}: {error}", self.name),
        }
    }

    /// As [`Server::sql_in`].
    ///
    /// # Errors
    /// What `psql` says.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", SUPERUSER, "-d", database, "-X", "-A", "-t", "-q"])
            .args(["-v", "ON_ERROR_STOP=1", "-c", sql])
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "5")
            .output()
            .expect("psql starts");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Waits until a question has this answer.
    ///
    /// # Panics
    /// When it never has.
    pub fn wait_for(&self, sql: &str, expected: &str) {
        self.wait_for_in("postgres", sql, expected);
    }

    /// As [`Server::wait_for`] in another database.
    ///
    /// # Panics
    /// When it never has.
    pub fn wait_for_in(&self, database: &str, sql: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_sql(database, sql);
            if answer.as_deref() == Ok(expected) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{}: `{sql}` is {answer:?}, not {expected}; log:\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Changes a setting for everybody and waits until new sessions see it.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn set(&self, name: &str, value: &str) {
        let _ = self.sql(&format!("alter system set {name} = '{value}'"));
        let _ = self.sql("select pg_reload_conf()");
        self.wait_for(&format!("select current_setting('{name}')"), value);
    }

    /// What the server has written to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            // A frozen server would not hear the signal that ends it.
            let pid = Pid::from_child(child);
            for pid in children(pid).into_iter().chain([pid]) {
                let _ = kill_process(pid, Signal::CONT);
            }
        }
        self.stop(Mode::Immediate);
        if std::thread::panicking() {
            eprintln!("log of {}:\n{}", self.name, self.log());
        }
    }
}

fn signal(pid: Pid, signal: Signal) {
    // A process that has ended meanwhile is as good as one that was told.
    let _ = kill_process(pid, signal);
}

fn children(of: Pid) -> Vec<Pid> {
    let path = format!("/proc/{0}/task/{0}/children", of.as_raw_nonzero());
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|it| Pid::from_raw(it.parse().ok()?))
        .collect()
}

/// An even port that nobody listens on, below those that the kernel gives to outgoing connections. Odd ones are for etcd, which
/// the same tests start at the same time.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 400) as u16 * 25;
    loop {
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000 * 2;
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
}
