//! Starting programs as the user that PostgreSQL insists on, and taking them down with us.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

/// A program of PostgreSQL, where `pg_config --bindir` says.
///
/// # Panics
/// When PostgreSQL is not installed.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let output = Command::new("pg_config").arg("--bindir").output();
        let output = output.expect("PostgreSQL is installed (`pg_config` is missing)");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    });
    directory.join(name)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// User and group `postgres`.
fn postgres() -> (u32, u32) {
    static IDS: OnceLock<(u32, u32)> = OnceLock::new();
    *IDS.get_or_init(|| {
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
        let line = users.lines().find(|line| line.starts_with("postgres:"));
        let fields: Vec<_> = line.expect("there is a user `postgres`").split(':').collect();
        let number = |field: &str| field.parse().expect("ids are numbers");
        (number(fields[2]), number(fields[3]))
    })
}

pub(crate) fn give_to_postgres(path: &Path) {
    if is_root() {
        let (user, group) = postgres();
        chown(path, Some(user), Some(group)).expect("root may change owners");
    }
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .open(path)
        .expect("initdb made it");
    file.write_all(text.as_bytes()).expect("there is room");
}

/// Writes a file that only PostgreSQL's user reads.
pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).expect("there is room");
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("it is ours");
    give_to_postgres(path);
}

/// The same command as user `postgres`, and sent `signal` when this process dies.
fn as_postgres(command: &Command, signal: &str) -> Command {
    let mut wrapped = Command::new("setpriv");
    if is_root() {
        wrapped.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    wrapped.arg(format!("--pdeathsig={signal}"));
    wrapped
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.env("LC_ALL", "C").current_dir("/");
    wrapped
}

/// Runs a program to its end.
pub(crate) fn run_as_postgres(command: &mut Command) {
    let output = as_postgres(command, "KILL").output().expect("the program starts");
    assert!(
        output.status.success(),
        "{:?} failed: {}",
        command.get_program(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts a program that goes on. The kernel ends it when the *thread* that started it ends, so all are started by
/// one thread that lives as long as the process.
pub(crate) fn spawn_as_postgres(command: &Command, log: File) -> Child {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let mut wrapped = as_postgres(command, "QUIT");
    wrapped
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone().expect("files can be shared"))
        .stderr(log);
    let (reply, child) = channel();
    let job = (wrapped, reply);
    spawner
        .lock()
        .expect("no starter panics")
        .send(job)
        .expect("the spawner lives");
    let child = child.recv().expect("the spawner answers");
    child.expect("setpriv starts")
}
