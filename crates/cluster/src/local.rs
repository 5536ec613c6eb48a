//! A whole cluster on this machine, in one directory: its topology, its files, how its processes are started.

use crate::specs::{Manager, ProcessSpec, directories, spec};
use crate::{
    ClusterError, Directories, Host, HostName, Machine, ProcessKind, Programs, Role, Secrets, SharedAddress,
    Table, Topology, files, host, links, render,
};
use serde::{Deserialize, Serialize};
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How the hosts of one machine are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostMode {
    /// By addresses of the loopback network.
    Loopback,
    /// Each has its own network namespace, address and link, and can be cut off.
    Netns,
}

/// A cluster on this machine.
#[derive(Clone, Debug)]
pub struct Local {
    directory: PathBuf,
    topology: Topology,
}

/// What a host of the cluster that `up` makes is given of the machine's disk at most, in GiB: it decides how much log is
/// kept, and a trial must not fill a laptop.
const LOCAL_DISK_GIB_MAX: u64 = 32;

/// Reads the cluster of a directory, or makes the topology of one with three hosts; then writes every file that its
/// processes need. `program` is this program; it is copied to where every user can run it.
///
/// # Errors
/// We are not root, the cluster runs already, the topology is refused, is of another mode, or the disk refuses.
pub fn prepare(directory: &Path, mode: Option<HostMode>, program: &Path) -> Result<Local, ClusterError> {
    host::require_root("gives files to other users and makes networks")?;
    let run = directory.join("run");
    fs::create_dir_all(&run).map_err(|e| ClusterError::io("create", &run, e))?;
    let directory = &directory
        .canonicalize()
        .map_err(|e| ClusterError::io("find", directory, e))?;
    if Table::read(directory)?.has_supervisor() {
        let detail = "its supervisor lives".to_owned();
        return Err(ClusterError::Running {
            directory: directory.clone(),
            detail,
        });
    }
    let file = directory.join("cluster.toml");
    if !file.exists() {
        let topology = new_topology(directory, mode.unwrap_or(HostMode::Loopback))?;
        topology.check()?;
        write_topology(&file, &topology)?;
    }
    let local = Local::open(directory)?;
    if let Some(mode) = mode.filter(|mode| *mode != local.mode()) {
        let text = format!(
            "--hosts {mode:?} does not fit {}: it was made for {:?}",
            file.display(),
            local.mode()
        );
        return Err(ClusterError::Refused(text));
    }
    check_way_in(directory)?;
    if local.topology.programs.shanraq == own_program(directory) {
        copy_program(program, &own_program(directory))?;
    }
    Ok(local)
}

fn write_topology(file: &Path, topology: &Topology) -> Result<(), ClusterError> {
    let text = toml::to_string_pretty(topology).expect("a topology is a table");
    fs::write(file, text).map_err(|e| ClusterError::io("write", file, e))
}

/// Where this program's copy is: it is often in a directory that is closed to other users, and a build may replace it
/// while nodes run.
fn own_program(directory: &Path) -> PathBuf {
    directory.join("bin").join("shanraq")
}

fn copy_program(program: &Path, copy: &Path) -> Result<(), ClusterError> {
    let part = copy.with_extension("part");
    let directory = copy.parent().expect("it is in `bin`");
    fs::create_dir_all(directory).map_err(|e| ClusterError::io("create", directory, e))?;
    fs::copy(program, &part).map_err(|e| ClusterError::io("copy", program, e))?;
    fs::set_permissions(&part, Permissions::from_mode(0o755))
        .map_err(|e| ClusterError::io("change the mode of", &part, e))?;
    fs::rename(&part, copy).map_err(|e| ClusterError::io("rename", &part, e))
}

impl Local {
    /// The cluster of a directory.
    ///
    /// # Errors
    /// There is none, or its topology is refused.
    pub fn open(directory: &Path) -> Result<Self, ClusterError> {
        let topology = Topology::read(&directory.join("cluster.toml"))?;
        let directory = directory
            .canonicalize()
            .map_err(|e| ClusterError::io("find", directory, e))?;
        Ok(Self { directory, topology })
    }

    /// The same cluster without ledger nodes, in its file too: for what looks at the rest alone.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn without_nodes(mut self) -> Result<Self, ClusterError> {
        self.topology.nodes = false;
        self.topology.projection = false;
        write_topology(&self.directory.join("cluster.toml"), &self.topology)?;
        Ok(self)
    }

    /// Its directory, with no links in the path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its topology.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// How its hosts are told apart.
    pub fn mode(&self) -> HostMode {
        if self.topology.is_loopback() {
            HostMode::Loopback
        } else {
            HostMode::Netns
        }
    }

    /// Writes every file and makes every directory that the processes need.
    ///
    /// # Errors
    /// The disk or the system refuses, or a user of Debian's packages is missing.
    pub fn write_files(&self) -> Result<(), ClusterError> {
        let secrets = Secrets::open(&self.directory.join("secrets"))?;
        let machine = Machine::measure(&self.directory)?;
        for host in &self.topology.hosts {
            for needed in directories(&self.topology, host) {
                let path = &needed.path;
                fs::create_dir_all(path).map_err(|e| ClusterError::io("create", path, e))?;
                fs::set_permissions(path, Permissions::from_mode(needed.mode))
                    .map_err(|e| ClusterError::io("change the mode of", path, e))?;
                host::give(path, &host::user(needed.user)?)?;
            }
            let rendered = render(&self.topology, host, Machine::of(host, machine), &secrets);
            files::write_host(&host.directories.config, &rendered)?;
        }
        Ok(())
    }

    /// Makes the hosts' networks, or checks that the ports are free on the loopback network.
    ///
    /// # Errors
    /// A port is taken, or the kernel refuses.
    pub fn make_networks(&self) -> Result<(), ClusterError> {
        match self.mode() {
            HostMode::Netns => links::create(&self.directory, &self.topology),
            HostMode::Loopback => match taken_port(&self.topology) {
                Some((host, port)) => {
                    let text = format!("port {port} of {host} is taken by another program");
                    Err(ClusterError::Refused(text))
                }
                None => Ok(()),
            },
        }
    }

    /// How a process of a host is started by the supervisor.
    pub(crate) fn command(&self, host: &Host, kind: ProcessKind) -> Option<Command> {
        let ProcessSpec {
            program,
            arguments,
            user,
            ..
        } = spec(&self.topology, host, kind, Manager::Supervisor)?;
        Some(self.command_on(host, user, &program, &arguments))
    }

    /// A program in a host's namespace, as a user, with a clean environment. Each program of the chain replaces itself by
    /// the next, so the process id is the last one's.
    pub(crate) fn command_on(
        &self,
        host: &Host,
        user: &str,
        program: &Path,
        arguments: &[String],
    ) -> Command {
        let mut chain: Vec<String> = Vec::new();
        if self.mode() == HostMode::Netns {
            let namespace = links::namespace(&self.directory, &host.name);
            chain.extend(["ip", "netns", "exec", &namespace].map(str::to_owned));
        }
        if user != "root" {
            chain.extend(as_user(user));
        }
        chain.push(program.to_string_lossy().into_owned());
        chain.extend_from_slice(arguments);
        let mut command = Command::new(&chain[0]);
        command
            .args(&chain[1..])
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .current_dir("/");
        command
    }

    /// A query as the superuser over a host's local socket; gives rows without a heading.
    pub(crate) fn query(&self, host: &Host, sql: &str) -> Result<String, ClusterError> {
        let psql = self.topology.programs.postgres_directory.join("psql");
        let mut words: Vec<String> = as_user("postgres").to_vec();
        let fixed = [
            "-X",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
        ];
        words.push(psql.to_string_lossy().into_owned());
        words.extend(fixed.map(str::to_owned));
        words.extend(["-h".to_owned(), host.directories.run.display().to_string()]);
        words.extend(["-p".to_owned(), self.topology.ports.postgres.to_string()]);
        words.extend(["-c".to_owned(), sql.to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(links::run(words[0], &words[1..])?.trim().to_owned())
    }
}

fn as_user(user: &str) -> [String; 6] {
    ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"].map(str::to_owned)
}

fn new_topology(directory: &Path, mode: HostMode) -> Result<Topology, ClusterError> {
    let machine = Machine::measure(directory)?;
    let mut topology = Topology {
        name: "shanraq".to_owned(),
        nodes: true,
        projection: true,
        sentinel: true,
        pre_promote: None,
        durability: crate::Durability::default(),
        balance: crate::Balance::default(),
        ports: crate::Ports::default(),
        programs: Programs {
            shanraq: own_program(directory),
            ..Programs::default()
        },
        shared_address: None,
        hosts: Vec::new(),
    };
    let network = match mode {
        HostMode::Netns => links::free_network()?,
        HostMode::Loopback => [127, 0, 0],
    };
    let [a, b, c] = network;
    for number in 1..=3_u8 {
        let base = directory.join(format!("h{number}"));
        let mut roles = vec![Role::Etcd, Role::Postgres, Role::Node];
        if number <= 2 {
            roles.extend([Role::Balancer, Role::Pooler]);
        }
        topology.hosts.push(Host {
            name: HostName(format!("h{number}")),
            address: Ipv4Addr::new(a, b, c, number),
            interface: "eth0".to_owned(),
            roles,
            memory_mb: Some((machine.memory_bytes >> 20).div_euclid(6).clamp(512, 4096)),
            disk_gb: Some(
                (machine.disk_bytes >> 30)
                    .div_euclid(3)
                    .clamp(4, LOCAL_DISK_GIB_MAX),
            ),
            directories: Directories {
                config: base.join("etc"),
                data: base.join("data"),
                wal: None,
                run: base.join("run"),
                log: base.join("log"),
            },
        });
    }
    match mode {
        HostMode::Loopback => take_free_loopback(&mut topology)?,
        HostMode::Netns => {
            topology.shared_address = Some(SharedAddress {
                address: Ipv4Addr::new(a, b, c, 100),
                prefix: 24,
                router: 71,
            });
        }
    }
    Ok(topology)
}

/// All of 127.0.0.0/8 is this machine, so another cluster's ports are avoided by taking other addresses.
fn take_free_loopback(topology: &mut Topology) -> Result<(), ClusterError> {
    let mut seed = [0_u8; 2];
    for _ in 0..64 {
        aws_lc_rs::rand::fill(&mut seed)
            .map_err(|e| ClusterError::io("read", Path::new("/dev/urandom"), std::io::Error::other(e)))?;
        for (host, number) in topology.hosts.iter_mut().zip(1..) {
            host.address = Ipv4Addr::new(127, 20 + seed[0] % 200, seed[1], number);
        }
        if taken_port(topology).is_none() {
            return Ok(());
        }
    }
    Err(ClusterError::Refused(
        "the default ports are taken on the whole loopback network".to_owned(),
    ))
}

fn taken_port(topology: &Topology) -> Option<(&HostName, u16)> {
    let all = topology
        .hosts
        .iter()
        .flat_map(|host| topology.ports.all().map(move |port| (host, port)));
    all.into_iter()
        .find(|(host, port)| TcpListener::bind((host.address, *port)).is_err())
        .map(|(host, port)| (&host.name, port))
}

/// User `postgres` must be able to reach its files: a directory below root's home fails late and obscurely otherwise.
fn check_way_in(directory: &Path) -> Result<(), ClusterError> {
    for part in directory.ancestors() {
        let metadata = fs::metadata(part).map_err(|e| ClusterError::io("look at", part, e))?;
        if metadata.permissions().mode() & 0o001 == 0 {
            let text = format!(
                "--dir: {} is closed to other users (mode {:o}), so user postgres cannot reach its data",
                part.display(),
                metadata.permissions().mode() & 0o777
            );
            return Err(ClusterError::Refused(text));
        }
    }
    Ok(())
}
