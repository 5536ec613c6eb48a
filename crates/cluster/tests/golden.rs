//! What is rendered, byte by byte, against files in `tests/golden`; and each file against its own program's checker.
//! Golden files are written anew with `SHANRAQ_GOLDEN=write`; look at the difference before committing it.

mod support;

use cluster::{HostName, Machine, RenderedFile, Topology, render, server_settings};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{fixed_secrets, three_hosts};

/// A host of 32 GiB and half a terabyte.
const MACHINE: Machine = Machine {
    memory_bytes: 32 << 30,
    disk_bytes: 512 << 30,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn rendered(topology: &Topology, host: &str) -> Vec<RenderedFile> {
    let host = topology.host(&HostName(host.to_owned())).unwrap();
    render(topology, host, Machine::of(host, MACHINE), &fixed_secrets())
}

/// Every file of a host is the golden one, and there is no golden file more.
fn compare(topology: &Topology, host: &str, directory: &str) {
    let golden = golden(directory).join(host);
    let write = std::env::var_os("SHANRAQ_GOLDEN").is_some();
    let mut seen = Vec::new();
    for file in rendered(topology, host) {
        let path = golden.join(&file.path);
        let text = format!("{:o} {}\n{}", file.mode, file.owner.as_str(), file.text);
        if write {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(text, expected, "{}", path.display());
        seen.push(path);
    }
    for path in files_below(&golden) {
        assert!(seen.contains(&path), "{} is rendered no more", path.display());
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn three_hosts_are_rendered_as_the_golden_files_say() {
    let topology = three_hosts();
    assert!(
        topology.nodes,
        "nodes are part of a cluster unless it says otherwise"
    );
    for host in ["h1", "h2", "h3"] {
        compare(&topology, host, "three");
    }
}

#[test]
fn other_choices_are_rendered_as_the_golden_files_say() {
    let mut topology = three_hosts();
    topology.pre_promote = Some("/usr/bin/shanraq fence".to_owned());
    topology.balance.api = cluster::BalanceAlgorithm::ConsistentHash;
    topology.balance.replicas = cluster::BalanceAlgorithm::Leastconn;
    topology.hosts[0].directories.wal = Some("/wal/postgres".into());
    topology.check().unwrap();
    compare(&topology, "h1", "choices");
}

/// Patroni copies the primary anew where a server cannot be rewound, and first takes the log's directory away, which whoever
/// owns the one around it may do.
#[test]
fn a_log_with_a_disk_of_its_own_lies_in_a_directory_of_the_servers_user() {
    let mut topology = three_hosts();
    topology.hosts[0].directories.wal = Some("/wal/postgres".into());
    let files = rendered(&topology, "h1");
    let text = |path: &str| &files.iter().find(|file| file.path.ends_with(path)).unwrap().text;
    let (directories, patroni) = (text("tmpfiles/shanraq.conf"), text("patroni.yml"));
    let places: Vec<&str> = patroni
        .lines()
        .filter_map(|line| line.split_once("waldir: "))
        .map(|(_, path)| path)
        .collect();
    assert_eq!(places.len(), 2, "of initdb and of base backups");
    for place in places {
        let around = Path::new(place).parent().unwrap().display();
        let owned = format!("d {around} 0700 postgres ");
        assert!(directories.contains(&owned), "{owned}");
    }
}

#[test]
fn without_nodes_nothing_of_them_is_rendered() {
    let mut topology = three_hosts();
    topology.nodes = false;
    topology.projection = false;
    for file in rendered(&topology, "h1") {
        let path = file.path.display().to_string();
        assert!(
            !path.contains("node") && path != "ledger-keys" && path != "writer.password",
            "{path}"
        );
        assert!(
            !file.text.contains("7400") && !file.text.contains("backend writer"),
            "{path}"
        );
    }
}

#[test]
fn rendering_twice_gives_the_same_bytes() {
    let topology = three_hosts();
    assert_eq!(rendered(&topology, "h2"), rendered(&topology, "h2"));
}

#[test]
fn no_password_stands_in_a_file_that_others_can_read() {
    let topology = three_hosts();
    let secrets = fixed_secrets();
    let all = [
        &secrets.superuser,
        &secrets.replication,
        &secrets.rewind,
        &secrets.owner,
        &secrets.writer,
        &secrets.reader,
        &secrets.projector,
        &secrets.rest,
        &secrets.ledger_keys,
    ];
    for file in rendered(&topology, "h1") {
        let holds = all.iter().any(|secret| file.text.contains(secret.as_str()))
            || file.text.contains("SCRAM-SHA-256$");
        assert!(
            !holds || file.mode & 0o077 == 0,
            "{} has mode {:o}",
            file.path.display(),
            file.mode
        );
    }
}

/// The files of a host below a temporary directory, as its programs would find them.
struct Placed {
    directory: tempfile::TempDir,
    topology: Topology,
}

impl Placed {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("shq").tempdir_in("/tmp").unwrap();
        let mut topology = three_hosts();
        topology.programs = cluster::Programs::default();
        topology.programs.shanraq = "/bin/true".into();
        let of = &mut topology.hosts[0].directories;
        of.config = directory.path().join("etc");
        of.data = directory.path().join("data");
        of.run = directory.path().join("run");
        of.log = directory.path().join("log");
        support::open_to_all(directory.path());
        for path in [&of.config, &of.data, &of.run, &of.log] {
            fs::create_dir_all(path).unwrap();
            support::open_to_all(path);
        }
        topology.check().unwrap();
        cluster::install(&topology, &mut |what| eprintln!("{what}")).unwrap();
        let placed = Self { directory, topology };
        cluster::write_host(&placed.config(), &rendered(&placed.topology, "h1")).unwrap();
        placed
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    fn file(&self, name: &str) -> String {
        self.config().join(name).to_string_lossy().into_owned()
    }
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn accepts(program: &str, arguments: &[&str]) {
    let (good, said) = run(program, arguments);
    assert!(good, "{program} {arguments:?}: {said}");
}

#[test]
fn haproxy_accepts_its_file_without_a_warning_and_refuses_a_damaged_one() {
    let placed = Placed::new();
    let file = placed.file("haproxy.cfg");
    let (good, said) = run("/usr/sbin/haproxy", &["-c", "-f", &file]);
    assert!(good && !said.contains("WARNING"), "{said}");
    let damaged = fs::read_to_string(&file)
        .unwrap()
        .replace("balance roundrobin", "balance nobody");
    fs::write(&file, damaged).unwrap();
    assert!(!run("/usr/sbin/haproxy", &["-c", "-f", &file]).0);
}

#[test]
fn patroni_accepts_its_file() {
    let placed = Placed::new();
    let patroni = placed.topology.programs.patroni.to_string_lossy().into_owned();
    let (good, said) = run(
        &patroni,
        &[
            "--validate-config",
            "--ignore-listen-port",
            &placed.file("patroni.yml"),
        ],
    );
    // It also tries to reach etcd at the addresses in the file, which is not a matter of the file.
    let complaints: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let only_reach = complaints
        .iter()
        .all(|line| line.contains("didn't pass validation") && line.contains("etcd3.hosts"));
    assert!(good || only_reach, "{said}");
    let damaged = fs::read_to_string(placed.file("patroni.yml")).unwrap();
    fs::write(
        placed.file("patroni.yml"),
        damaged.replace("loop_wait: 1", "loop_wait: soon"),
    )
    .unwrap();
    let (_, said) = run(
        &patroni,
        &[
            "--validate-config",
            "--ignore-listen-port",
            &placed.file("patroni.yml"),
        ],
    );
    assert!(said.contains("loop_wait"), "{said}");
}

#[test]
fn postgres_accepts_every_setting_as_it_is_meant() {
    let placed = Placed::new();
    let host = &placed.topology.hosts[0];
    let settings = server_settings(host, Machine::of(host, MACHINE));
    let lines: String = settings
        .iter()
        .map(|(name, value)| format!("{name} = '{value}'\n"))
        .collect();
    let file = placed.directory.path().join("postgresql.conf");
    fs::write(&file, lines).unwrap();
    support::open_to_all(&file);
    let server = placed
        .topology
        .programs
        .postgres_directory
        .join("postgres")
        .to_string_lossy()
        .into_owned();
    let config = format!("--config-file={}", file.display());
    // PostgreSQL wants an initialised directory, and a user that is not root.
    let data = placed.directory.path().join("check");
    let data = data.to_string_lossy().into_owned();
    let initdb = placed
        .topology
        .programs
        .postgres_directory
        .join("initdb")
        .to_string_lossy()
        .into_owned();
    let as_postgres = |words: &[&str]| {
        let user = ["--reuid", "postgres", "--regid", "postgres", "--clear-groups"];
        run("setpriv", &[&user[..], words].concat())
    };
    let (good, said) = as_postgres(&[&initdb, "-D", &data, "--wal-segsize=64", "--no-sync"]);
    assert!(good, "{said}");
    for (name, value) in [
        ("min_wal_size", "8192"),
        ("shared_buffers", "1048576"),
        ("synchronous_commit", "on"),
        ("wal_retrieve_retry_interval", "200"),
        ("statement_timeout", "0"),
        ("lock_timeout", "0"),
        ("tcp_user_timeout", "5000"),
        ("wal_level", "replica"),
    ] {
        let (good, said) = as_postgres(&[&server, "-C", name, "-D", &data, &config]);
        assert!(good, "{name}: {said}");
        assert_eq!(said.trim(), value, "{name}");
    }
}

/// What keepalived complains of. It looks at the interface of its file, so it gets a network with such a one; it ends by a
/// SIGTERM to its own process group whatever it found (2.2.7), so it gets a session, and its exit code says nothing.
fn keepalived_says(file: &str) -> String {
    let script = "ip link add eth0 type veth peer name peer0 && ip link set peer0 up \
        && ip address add 192.0.2.1/24 dev eth0 && ip link set eth0 up && exec keepalived -t -f \"$0\"";
    run(
        "unshare",
        &["--net", "setsid", "--wait", "sh", "-c", script, file],
    )
    .1
}

#[test]
fn keepalived_has_nothing_against_its_file_and_something_against_a_damaged_one() {
    let placed = Placed::new();
    let file = placed.file("keepalived.conf");
    assert_eq!(keepalived_says(&file), "");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("virtual_router_id 71", "virtual_router_id none"),
    )
    .unwrap();
    assert!(keepalived_says(&file).contains("VRID 'none' not valid"));
}

#[test]
fn systemd_accepts_every_unit() {
    let placed = Placed::new();
    // Units name programs; those must be there for the check.
    let units: Vec<String> = rendered(&placed.topology, "h1")
        .iter()
        .filter(|file| file.path.starts_with("systemd"))
        .map(|file| placed.config().join(&file.path).to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        units.len(),
        8,
        "etcd, patroni, haproxy, pgbouncer, keepalived, node, projection, maintenance"
    );
    let mut arguments = vec!["verify"];
    arguments.extend(units.iter().map(String::as_str));
    let (good, said) = run("/usr/bin/systemd-analyze", &arguments);
    let own: Vec<&str> = said.lines().filter(|line| line.contains("shanraq-")).collect();
    assert!(good && own.is_empty(), "{said}");
}

#[test]
fn systemd_makes_the_directories() {
    let placed = Placed::new();
    let root = placed.directory.path().join("root");
    fs::create_dir(&root).unwrap();
    for name in ["etc"] {
        fs::create_dir(root.join(name)).unwrap();
        for file in ["passwd", "group"] {
            fs::copy(Path::new("/").join(name).join(file), root.join(name).join(file)).unwrap();
        }
    }
    let root_flag = format!("--root={}", root.display());
    accepts(
        "/usr/bin/systemd-tmpfiles",
        &["--create", &root_flag, &placed.file("tmpfiles/shanraq.conf")],
    );
    let data = placed.topology.hosts[0].directories.postgres();
    assert!(root.join(data.strip_prefix("/").unwrap()).is_dir());
}
