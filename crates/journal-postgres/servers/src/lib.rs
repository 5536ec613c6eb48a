//! Real PostgreSQL servers for tests and measurements: a primary and streaming standbys on this machine's loopback.
//!
//! Owns: starting, breaking and ending them. Must not: ship in the product, or leave a process behind: servers end
//! when their handle is dropped, and also when the process that started them dies in whatever way.

mod process;
mod server;

pub use process::program;
pub use server::{Mode, Server};

use process::run_as_postgres;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use tempfile::TempDir;

/// The superuser's name; its password is random for every group of servers.
pub const SUPERUSER: &str = "postgres";

/// How a group of servers is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many streaming standbys.
    pub standbys: usize,
    /// WAL segment size in MiB.
    pub wal_segment_mib: u32,
    /// Lines for `postgresql.conf` of every server.
    pub settings: Vec<String>,
    /// Where the data directories go; the system's temporary directory by default.
    pub directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            standbys: 2,
            wal_segment_mib: 1,
            settings: vec![
                "shared_buffers = 32MB".into(),
                "min_wal_size = 8MB".into(),
                "max_connections = 40".into(),
            ],
            directory: None,
        }
    }
}

/// A primary and its standbys. All end when this is dropped.
pub struct Servers {
    /// Takes writes until told otherwise.
    pub primary: Server,
    /// Stream from the primary under the names `pg2`, `pg3`, ….
    pub standbys: Vec<Server>,
    root: TempDir,
}

impl Servers {
    /// Makes and starts them; returns when all standbys stream, with `synchronous_standby_names` naming them all
    /// (`ANY 1 (…)`), or empty when there are none.
    ///
    /// # Panics
    /// When PostgreSQL 15's programs are missing or refuse.
    #[must_use]
    pub fn start(options: &Options) -> Self {
        let root = match &options.directory {
            Some(directory) => TempDir::with_prefix_in("shanraq-pg-", directory),
            None => TempDir::with_prefix("shanraq-pg-"),
        }
        .expect("a temporary directory can be made");
        process::give_to_postgres(root.path());
        let password = write_password(root.path());
        let mut settings = options.settings.clone();
        settings.push(format!("unix_socket_directories = '{}'", root.path().display()));
        let primary = Self::start_primary(options, root.path(), &password, &settings);
        let mut servers = Self {
            primary,
            standbys: Vec::new(),
            root,
        };
        for number in 2..2 + options.standbys {
            servers.add_standby(&format!("pg{number}"), &password);
        }
        if options.standbys > 0 {
            let names: Vec<_> = servers.standbys.iter().map(|it| it.name.as_str()).collect();
            servers.set(
                "synchronous_standby_names",
                &format!("ANY 1 ({})", names.join(",")),
            );
        }
        servers
    }

    fn start_primary(options: &Options, root: &Path, password: &str, settings: &[String]) -> Server {
        let data = root.join("pg1");
        run_as_postgres(
            Command::new(process::program("initdb"))
                .arg("--pgdata")
                .arg(&data)
                .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--data-checksums"])
                .args(["--auth=scram-sha-256", "--username", SUPERUSER])
                .arg(format!("--wal-segsize={}", options.wal_segment_mib))
                .arg("--pwfile")
                .arg(root.join("password")),
        );
        let mut text = String::from("listen_addresses = '127.0.0.1'\nlogging_collector = off\n");
        text.push_str("log_min_messages = log\nwal_level = replica\nmax_wal_senders = 10\n");
        text.push_str("hot_standby = on\nwal_keep_size = 256MB\n");
        // Tests freeze servers, and are frozen themselves while others measure.
        text.push_str("wal_sender_timeout = 0\nwal_receiver_timeout = 0\n");
        for line in settings {
            writeln!(text, "{line}").expect("strings take everything");
        }
        process::append(&data.join("postgresql.conf"), &text);
        let line = "host replication all 127.0.0.1/32 scram-sha-256\n";
        process::append(&data.join("pg_hba.conf"), line);
        let mut server = Server::new("pg1", data, password);
        server.start();
        server
    }

    /// Makes one more standby by `pg_basebackup` and waits until it streams.
    ///
    /// # Panics
    /// When PostgreSQL's programs refuse.
    fn add_standby(&mut self, name: &str, password: &str) {
        let data = self.root.path().join(name);
        let from = format!(
            "host=127.0.0.1 port={} user={SUPERUSER} passfile={} application_name={name}",
            self.primary.port,
            self.root.path().join("pgpass").display()
        );
        run_as_postgres(
            Command::new(process::program("pg_basebackup"))
                .arg("--pgdata")
                .arg(&data)
                .args([
                    "--write-recovery-conf",
                    "--wal-method=stream",
                    "--checkpoint=fast",
                ])
                .args(["--no-sync", "--dbname", &from]),
        );
        // Shown by `pg_stat_replication`: the name in primary_conninfo, not that of the cluster.
        let mut server = Server::new(name, data, password);
        server.start();
        self.standbys.push(server);
        self.wait_streaming(name);
    }

    /// Waits until a standby of that name streams.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait_streaming(&self, name: &str) {
        let sql = format!(
            "select count(*) from pg_stat_replication where application_name = '{name}' and state = 'streaming'"
        );
        self.primary.wait_for(&sql, "1");
    }

    /// Changes a setting of the primary for everybody, behind the back of those connected, and waits until it holds.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn set(&self, name: &str, value: &str) {
        self.primary.set(name, value);
    }

    /// Fills and recycles so many WAL segments at every server, so that no commit has to make one: that is what ruins
    /// the tail. `min_wal_size` must be large enough to keep them.
    ///
    /// # Panics
    /// When a server refuses.
    pub fn recycle_wal(&self, segments: u32) {
        for _ in 0..segments {
            let _ = self
                .primary
                .sql("select pg_logical_emit_message(false, 'recycle', ''), pg_switch_wal()");
        }
        let _ = self.primary.sql("checkpoint");
        let position = self.primary.sql("select pg_current_wal_lsn()");
        for standby in &self.standbys {
            standby.wait_for(&format!("select pg_last_wal_replay_lsn() >= '{position}'"), "t");
            let _ = standby.sql("checkpoint");
        }
    }

    /// Starts somebody who takes WAL and confirms its flush, as `pg_receivewal --synchronous` does, but is no standby.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn stranger(&self, name: &str) -> Stranger {
        let directory = self.root.path().join(name);
        std::fs::create_dir(&directory).expect("there is room");
        process::give_to_postgres(&directory);
        let mut command = Command::new(process::program("pg_receivewal"));
        command
            .args(["--synchronous", "--no-loop", "--directory"])
            .arg(&directory);
        command.arg("--dbname").arg(format!(
            "host=127.0.0.1 port={} user={SUPERUSER} passfile={} application_name={name}",
            self.primary.port,
            self.root.path().join("pgpass").display()
        ));
        let log = std::fs::File::create(directory.with_extension("log")).expect("a log can be written");
        let stranger = Stranger(process::spawn_as_postgres(&command, log));
        self.wait_streaming(name);
        stranger
    }

    /// Makes the German messages known to the primary (`lc_messages = 'de_DE.UTF-8'`), in a directory of its own.
    /// Restarts it. False where the system has no means to make that locale or no translation.
    ///
    /// # Panics
    /// When the server does not come back.
    #[must_use]
    pub fn speak_german(&mut self) -> bool {
        let locales = self.root.path().join("locales");
        std::fs::create_dir(&locales).expect("there is room");
        let made = Command::new("localedef")
            .args(["-i", "de_DE", "-f", "UTF-8"])
            .arg(locales.join("de_DE.UTF-8"))
            .output();
        let is_made = made.is_ok_and(|it| it.status.success());
        if !is_made || !Path::new("/usr/share/locale/de/LC_MESSAGES/postgres-15.mo").exists() {
            return false;
        }
        let path = locales.display().to_string();
        self.primary.stop(Mode::Fast);
        self.primary.environment("LOCPATH", &path);
        self.primary.start();
        self.set("lc_messages", "de_DE.UTF-8");
        for standby in &self.standbys {
            self.wait_streaming(&standby.name);
        }
        true
    }

    /// Where the servers' directories are, and the file `password` with the superuser's password.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.root.path()
    }

    /// A file that holds the superuser's password and nothing else.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.root.path().join("password")
    }
}

/// See [`Servers::stranger`]. Ends when dropped.
pub struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A random password, in a file of its own and as a `pgpass` line for every server of the group.
fn write_password(root: &Path) -> String {
    let bytes = std::fs::read("/proc/sys/kernel/random/uuid").expect("the kernel gives random numbers");
    let password = String::from_utf8(bytes)
        .expect("a UUID is text")
        .trim()
        .to_owned();
    process::write_private(&root.join("password"), &password);
    process::write_private(&root.join("pgpass"), &format!("*:*:*:*:{password}\n"));
    password
}
