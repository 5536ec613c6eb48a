//! What is seen of a cluster on this machine: processes, etcd, PostgreSQL, HAProxy, PgBouncer, disks; each asked itself.

use crate::address::at;
use crate::http::{get, post, speaks_postgres};
use crate::impair::{BadLine, bad_lines};
use crate::links::{self, Cut, cuts};
use crate::sizing::disk;
use crate::table::Table;
use crate::{
    ClusterError, DurabilityMode, Host, HostName, Local, ProcessKind, ProcessState, Role, runtime_api,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// Who does not answer within it is counted as silent.
const ANSWER_WITHIN: Duration = Duration::from_millis(800);
/// A standby that is further behind is not healthy: a failover would wait for it.
const LAG_BYTES_MAX: u64 = 64 << 20;
/// A node that is further behind would first catch up if it were to write; some seconds of blocks.
const LAG_BLOCKS_MAX: u64 = 2_000;

/// What is seen of a cluster at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The cluster's name.
    pub name: String,
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// The host whose node writes; none if there is not exactly one.
    pub writer: Option<HostName>,
    /// The writer's epoch.
    pub epoch: Option<u64>,
    /// The host whose PostgreSQL takes writes; none if there is not exactly one.
    pub primary: Option<HostName>,
    /// The host that leads etcd.
    pub etcd_leader: Option<HostName>,
    /// The host whose projection moves the tables; none if there is not exactly one.
    pub projection: Option<HostName>,
    /// The host that holds the shared address; none if there is not exactly one.
    pub address_holder: Option<HostName>,
    /// Whether a sentinel acted within the last half minute: until that has passed, a further lost primary waits for Patroni's ttl.
    pub sentinel_rests: bool,
    /// Whether a supervisor keeps the processes.
    pub supervised: bool,
    /// Hosts that are cut off from each other.
    pub cuts: Vec<Cut>,
    /// Lines that lose packets or make them late.
    pub bad_lines: Vec<BadLine>,
    /// Each host.
    pub hosts: Vec<HostStatus>,
}

/// A host.
#[derive(Clone, Debug, Serialize)]
pub struct HostStatus {
    /// Its name.
    pub name: HostName,
    /// Its address.
    pub address: std::net::Ipv4Addr,
    /// Its processes.
    pub processes: Vec<ProcessStatus>,
    /// Its member of etcd, if it answers.
    pub etcd: Option<EtcdStatus>,
    /// Its PostgreSQL, if its Patroni answers.
    pub postgres: Option<PostgresStatus>,
    /// Its ledger node, if it answers.
    pub node: Option<NodeStatus>,
    /// Its SQL projection, if it answers.
    pub projection: Option<ProjectionStatus>,
    /// The servers that its HAProxy sends SQL writes to, if it answers.
    pub balancer_primary: Option<Vec<HostName>>,
    /// The nodes that its HAProxy knows as the writer, if it answers; none where no nodes run.
    pub balancer_writer: Option<Vec<HostName>>,
    /// Whether it holds the address that the balancers share; none where there is none.
    pub holds_address: Option<bool>,
    /// Whether its PgBouncer answers.
    pub pooler_answers: Option<bool>,
    /// The directory that holds its data.
    pub data: PathBuf,
    /// The size of the disk below it.
    pub disk_total_bytes: u64,
    /// What is left of it.
    pub disk_free_bytes: u64,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// Which.
    pub process: ProcessKind,
    /// How it is.
    pub state: ProcessState,
    /// Its process id, while it runs.
    pub process_id: Option<i32>,
    /// How often it was started again by itself.
    pub restarts: u64,
    /// How it ended the last time.
    pub last_exit: Option<String>,
}

/// A member of etcd.
#[derive(Clone, Debug, Serialize)]
pub struct EtcdStatus {
    /// Whether it leads.
    pub leads: bool,
    /// Whether it can reach a majority.
    pub has_quorum: bool,
    /// Whether it shows that a sentinel removed Patroni's leader key within the last half minute.
    pub sentinel_rests: bool,
}

/// A PostgreSQL server, as its Patroni sees it.
#[derive(Clone, Debug, Serialize)]
pub struct PostgresStatus {
    /// `primary` or `replica`, as Patroni calls it.
    pub role: String,
    /// `running`, `starting`, `stopped` …
    pub state: String,
    /// Whether the log is streamed to it.
    pub streaming: bool,
    /// Whether its flush counts for commits.
    pub synchronous: bool,
    /// Its timeline.
    pub timeline: Option<u64>,
    /// Where its log ends, in bytes.
    pub position_bytes: Option<u64>,
    /// Bytes of log that the primary has and it has not received.
    pub lag_bytes: Option<u64>,
    /// Whether Patroni is told to do nothing.
    pub paused: bool,
}

/// A ledger node, as it sees itself.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// `writer` or `follower`.
    pub role: String,
    /// Whom it takes for the writer.
    pub writer: Option<HostName>,
    /// The epoch of the last block that it knows.
    pub epoch: u64,
    /// Its last block.
    pub height: u64,
    /// The block up to which its history index reaches.
    pub indexed: u64,
    /// Blocks that the writer has and it has not.
    pub lag_blocks: Option<u64>,
    /// Whether it can serve a request now, itself or through the writer.
    pub serves: bool,
    /// Why it does not write; empty when it does.
    pub reason: String,
}

/// A process that keeps the ledger as tables, as it sees itself.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectionStatus {
    /// Whether it moves the tables; the others wait for their turn, and know no height.
    pub active: bool,
    /// The last block that is in the tables.
    pub height: Option<u64>,
    /// Blocks that the writer has and the tables have not.
    pub lag_blocks: Option<u64>,
    /// Seconds since the tables held all that was final.
    pub lag_seconds: Option<f64>,
}

/// Looks at everything at once; takes a second at most per kind of endpoint that is silent.
///
/// # Errors
/// The table or the cuts are damaged, or a disk cannot be measured.
pub fn observe(local: &Local) -> Result<Status, ClusterError> {
    let topology = local.topology();
    let table = Table::read(local.directory())?;
    let hosts: Result<Vec<HostStatus>, ClusterError> = thread::scope(|scope| {
        let threads: Vec<_> = topology
            .hosts
            .iter()
            .map(|host| scope.spawn(|| look_at(local, &table, host)))
            .collect();
        let joined = threads
            .into_iter()
            .map(|t| t.join().expect("looking does not panic"));
        joined.collect()
    });
    let mut hosts = hosts?;
    let primary = only(&hosts, |host| {
        host.postgres
            .as_ref()
            .is_some_and(|p| p.role == "primary" && p.state == "running")
    });
    measure_lag(&mut hosts);
    let writer = only(&hosts, |host| {
        host.node.as_ref().is_some_and(|n| n.role == "writer")
    });
    measure_blocks(&mut hosts, writer.as_ref());
    let of_writer = hosts.iter().find(|host| Some(&host.name) == writer.as_ref());
    let mut status = Status {
        name: topology.name.clone(),
        healthy: false,
        problems: Vec::new(),
        epoch: of_writer
            .and_then(|host| host.node.as_ref())
            .map(|node| node.epoch),
        writer,
        primary,
        projection: only(&hosts, |host| host.projection.as_ref().is_some_and(|p| p.active)),
        etcd_leader: only(&hosts, |host| host.etcd.as_ref().is_some_and(|e| e.leads)),
        address_holder: only(&hosts, |host| host.holds_address == Some(true)),
        sentinel_rests: hosts
            .iter()
            .filter_map(|host| host.etcd.as_ref())
            .any(|etcd| etcd.sentinel_rests),
        supervised: table.has_supervisor(),
        cuts: cuts(local.directory())?,
        bad_lines: bad_lines(local.directory())?,
        hosts,
    };
    status.problems = problems(local, &status);
    status.healthy = status.problems.is_empty();
    Ok(status)
}

fn only(hosts: &[HostStatus], is: impl Fn(&HostStatus) -> bool) -> Option<HostName> {
    let mut found = hosts.iter().filter(|host| is(host));
    match (found.next(), found.next()) {
        (Some(host), None) => Some(host.name.clone()),
        _ => None,
    }
}

fn look_at(local: &Local, table: &Table, host: &Host) -> Result<HostStatus, ClusterError> {
    let topology = local.topology();
    let disk = disk(&host.directories.data)?;
    let processes = topology
        .processes(host)
        .into_iter()
        .map(|kind| process(table, host, kind))
        .collect();
    let ports = topology.ports;
    thread::scope(|scope| {
        let etcd = scope.spawn(|| host.has(Role::Etcd).then(|| etcd(local, host)).flatten());
        let postgres = scope.spawn(|| host.has(Role::Postgres).then(|| postgres(local, host)).flatten());
        let node = scope.spawn(|| {
            let runs = topology.nodes && host.has(Role::Node);
            runs.then(|| node(local, host)).flatten()
        });
        let balancer = scope.spawn(|| {
            let socket = runtime_api::socket(host);
            let up = |pool| runtime_api::servers_up(&socket, pool).ok();
            let balances = host.has(Role::Balancer);
            let primary = balances.then(|| up("primary")).flatten();
            (
                primary,
                (balances && topology.nodes).then(|| up("writer")).flatten(),
            )
        });
        let projection = scope.spawn(|| {
            let runs = topology.projects_at(host);
            runs.then(|| projection(local, host)).flatten()
        });
        let holds_address = scope.spawn(|| links::holds_shared_address(local.directory(), topology, host));
        let pooler = scope.spawn(|| {
            host.has(Role::Pooler)
                .then(|| speaks_postgres(at(host, ports.pooler), ANSWER_WITHIN))
        });
        let (balancer_primary, balancer_writer) = balancer.join().expect("asking does not panic");
        Ok(HostStatus {
            name: host.name.clone(),
            address: host.address,
            processes,
            etcd: etcd.join().expect("asking does not panic"),
            postgres: postgres.join().expect("asking does not panic"),
            node: node.join().expect("asking does not panic"),
            projection: projection.join().expect("asking does not panic"),
            balancer_primary,
            balancer_writer,
            holds_address: holds_address.join().expect("asking does not panic"),
            pooler_answers: pooler.join().expect("asking does not panic"),
            data: host.directories.data.clone(),
            disk_total_bytes: disk.total_bytes,
            disk_free_bytes: disk.free_bytes,
        })
    })
}

fn process(table: &Table, host: &Host, kind: ProcessKind) -> ProcessStatus {
    let (process, state) = table.state(host, kind);
    let row = table.row(&host.name, kind);
    ProcessStatus {
        process: kind,
        state,
        process_id: process.map(|p| p.process_id),
        restarts: row.map_or(0, |row| row.restarts),
        last_exit: row.and_then(|row| row.last_exit.clone()),
    }
}

fn etcd(local: &Local, host: &Host) -> Option<EtcdStatus> {
    let endpoint = at(host, local.topology().ports.etcd_client);
    let status = post(endpoint, "/v3/maintenance/status", "{}", ANSWER_WITHIN).ok()?;
    let status = status.json(endpoint).ok()?;
    let leader = status.get("leader").and_then(Value::as_str);
    let own = status.pointer("/header/member_id").and_then(Value::as_str);
    // `/health` reads through the quorum.
    let health = get(endpoint, "/health", ANSWER_WITHIN);
    Some(EtcdStatus {
        leads: leader.is_some() && leader == own,
        has_quorum: health.is_ok_and(|answer| answer.status == 200),
        sentinel_rests: has_key(
            endpoint,
            &format!("/shanraq/{}/sentinel/damping", local.topology().name),
        ),
    })
}

/// Whether a member of etcd shows a key; what it shows may be old.
fn has_key(endpoint: SocketAddr, key: &str) -> bool {
    let key = STANDARD.encode(key);
    let question = format!(r#"{{"key":"{key}","count_only":true,"serializable":true}}"#);
    let answer = post(endpoint, "/v3/kv/range", &question, ANSWER_WITHIN);
    // Counts are told as text, and only where there are any.
    answer.is_ok_and(|answer| {
        answer
            .json(endpoint)
            .is_ok_and(|body| body.get("count").is_some())
    })
}

fn postgres(local: &Local, host: &Host) -> Option<PostgresStatus> {
    let endpoint = at(host, local.topology().ports.patroni);
    let answer = get(endpoint, "/patroni", ANSWER_WITHIN)
        .ok()?
        .json(endpoint)
        .ok()?;
    let text = |name: &str| {
        answer
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let flag = |name: &str| answer.get(name).and_then(Value::as_bool).unwrap_or(false);
    let position = |name: &str| answer.pointer(&format!("/xlog/{name}")).and_then(Value::as_u64);
    Some(PostgresStatus {
        role: text("role"),
        state: text("state"),
        streaming: text("replication_state") == "streaming",
        synchronous: flag("quorum_standby") || flag("sync_standby"),
        timeline: answer.get("timeline").and_then(Value::as_u64),
        position_bytes: position("location").or_else(|| position("received_location")),
        lag_bytes: None,
        paused: flag("pause"),
    })
}

fn node(local: &Local, host: &Host) -> Option<NodeStatus> {
    let endpoint = at(host, local.topology().ports.node);
    let answer = get(endpoint, "/status", ANSWER_WITHIN).ok()?;
    let answer = answer.json(endpoint).ok()?;
    // Numbers of 64 bits come as texts, as everywhere in the API.
    let number = |name: &str| answer.get(name).and_then(Value::as_str)?.parse().ok();
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(NodeStatus {
        role: text("role")?,
        writer: text("writer").map(HostName),
        epoch: number("epoch")?,
        height: number("height")?,
        indexed: number("indexed")?,
        lag_blocks: None,
        serves: get(endpoint, "/readyz", ANSWER_WITHIN).is_ok_and(|answer| answer.status == 200),
        reason: text("reason").unwrap_or_default(),
    })
}

fn projection(local: &Local, host: &Host) -> Option<ProjectionStatus> {
    let endpoint = at(host, local.topology().ports.projection);
    let answer = get(endpoint, "/metrics", ANSWER_WITHIN).ok()?;
    let text = String::from_utf8(answer.body).ok()?;
    let value = |name: &str| {
        let name = format!("shanraq_projection_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name))?;
        value.parse::<f64>().ok()
    };
    let active = value("active")? == 1.0;
    let height = value("height")?;
    Some(ProjectionStatus {
        active,
        height: active.then_some(height as u64),
        lag_blocks: None,
        lag_seconds: value("lag_seconds").filter(|lag| active && lag.is_finite()),
    })
}

/// The writer was asked at another moment than the others, so what is ahead of it counts as level.
fn measure_blocks(hosts: &mut [HostStatus], writer: Option<&HostName>) {
    let of = |host: &HostStatus| host.node.as_ref().map(|node| node.height);
    let head = hosts.iter().find(|host| Some(&host.name) == writer).and_then(of);
    for node in hosts.iter_mut().filter_map(|host| host.node.as_mut()) {
        node.lag_blocks = head.map(|head| head.saturating_sub(node.height));
    }
    for tables in hosts.iter_mut().filter_map(|host| host.projection.as_mut()) {
        let lag = head.zip(tables.height);
        tables.lag_blocks = lag.map(|(head, height)| head.saturating_sub(height));
    }
}

fn measure_lag(hosts: &mut [HostStatus]) {
    let positions = hosts.iter().filter_map(|host| host.postgres.as_ref());
    let head = positions
        .filter(|p| p.role == "primary" && p.state == "running")
        .filter_map(|p| p.position_bytes)
        .max();
    for server in hosts.iter_mut().filter_map(|host| host.postgres.as_mut()) {
        let lag = head.zip(server.position_bytes);
        server.lag_bytes = lag.map(|(head, own)| head.saturating_sub(own));
    }
}

/// What is wrong, in the order in which one would look.
fn problems(local: &Local, status: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    if !status.supervised {
        problems.push("no supervisor runs".to_owned());
    }
    for cut in &status.cuts {
        let what = if cut.new_only {
            "new connections"
        } else {
            "packets"
        };
        problems.push(format!("{} gets no {what} from {}", cut.to, cut.from));
    }
    for line in &status.bad_lines {
        let how = match line.stands() {
            true => line.impairment.to_string(),
            false => "was bad, and is good again, as its process ended by itself".to_owned(),
        };
        problems.push(format!("the line from {} to {}: {how}", line.from, line.to));
    }
    for host in &status.hosts {
        problems.extend(host_problems(local, status, host));
    }
    if status.etcd_leader.is_none() {
        problems.push("etcd has no leader".to_owned());
    }
    let topology = local.topology();
    if topology.nodes && status.writer.is_none() {
        problems.push("the ledger has no writer".to_owned());
    }
    if topology.shared_address.is_some() && status.address_holder.is_none() {
        let holders = status
            .hosts
            .iter()
            .filter(|host| host.holds_address == Some(true));
        let count = holders.count();
        problems.push(format!("the shared address is held by {count} hosts"));
    }
    if topology.projection && status.projection.is_none() {
        problems.push("the SQL projection is moved by none, or by more than one".to_owned());
    }
    match &status.primary {
        None => problems.push("PostgreSQL has no primary".to_owned()),
        Some(_) if topology.durability.mode == DurabilityMode::Quorum => {
            let servers = status.hosts.iter().filter_map(|host| host.postgres.as_ref());
            let copies = servers.filter(|p| p.synchronous && p.streaming).count();
            if copies < topology.durability.copies as usize {
                let needed = topology.durability.copies;
                problems.push(format!("{copies} of {needed} synchronous standbys"));
            }
        }
        Some(_) => {}
    }
    problems
}

fn host_problems(local: &Local, status: &Status, host: &HostStatus) -> Vec<String> {
    let name = &host.name;
    let mut problems: Vec<String> = host
        .processes
        .iter()
        .filter(|process| process.state != ProcessState::Running)
        .map(|process| {
            let state = format!("{:?}", process.state).to_lowercase();
            let exit = process.last_exit.as_ref().map(|exit| format!(" ({exit})"));
            format!(
                "{name}/{} is {state}{}",
                process.process,
                exit.unwrap_or_default()
            )
        })
        .collect();
    let has = |kind| host.processes.iter().any(|process| process.process == kind);
    match &host.etcd {
        None if has(ProcessKind::Etcd) => problems.push(format!("{name}: etcd does not answer")),
        Some(etcd) if !etcd.has_quorum => problems.push(format!("{name}: etcd has no quorum")),
        _ => {}
    }
    match &host.postgres {
        None if has(ProcessKind::Patroni) => problems.push(format!("{name}: Patroni does not answer")),
        Some(server) => problems.extend(server_problem(status, name, server)),
        None => {}
    }
    let topology = local.topology();
    let balances = topology.host(name).is_ok_and(|host| host.has(Role::Balancer));
    let to_primary = host.balancer_primary.as_deref() == status.primary.as_ref().map(std::slice::from_ref);
    let to_writer = host.balancer_writer.as_deref() == status.writer.as_ref().map(std::slice::from_ref);
    if balances && !to_primary {
        problems.push(format!(
            "{name}: HAProxy does not send SQL writes to the primary alone"
        ));
    }
    if topology.nodes && balances && !to_writer {
        problems.push(format!(
            "{name}: HAProxy does not send requests to the writer alone"
        ));
    }
    match &host.node {
        None if has(ProcessKind::Node) => problems.push(format!("{name}: the node does not answer")),
        Some(node) => problems.extend(node_problem(status, name, node)),
        None => {}
    }
    if host.projection.is_none() && has(ProcessKind::Projection) {
        problems.push(format!("{name}: the projection does not answer"));
    }
    if host.pooler_answers == Some(false) {
        problems.push(format!("{name}: PgBouncer does not answer"));
    }
    problems
}

fn server_problem(status: &Status, name: &HostName, server: &PostgresStatus) -> Option<String> {
    if server.paused {
        return Some(format!("{name}: Patroni is paused"));
    }
    if status.primary.as_ref() == Some(name) {
        return None;
    }
    if server.state != "running" && server.state != "streaming" {
        return Some(format!("{name}: PostgreSQL is {}", server.state));
    }
    if !server.streaming {
        return Some(format!("{name}: PostgreSQL does not stream"));
    }
    let lag = server.lag_bytes.filter(|lag| *lag > LAG_BYTES_MAX)?;
    Some(format!("{name}: PostgreSQL is {} MiB behind", lag >> 20))
}

fn node_problem(status: &Status, name: &HostName, node: &NodeStatus) -> Option<String> {
    if !node.serves {
        return Some(format!("{name}: the node cannot serve: {}", node.reason));
    }
    if status.writer.as_ref() == Some(name) {
        return None;
    }
    if status.writer.is_some() && node.writer != status.writer {
        return Some(format!("{name}: the node does not follow the writer"));
    }
    let lag = node.lag_blocks.filter(|lag| *lag > LAG_BLOCKS_MAX)?;
    Some(format!("{name}: the node is {lag} blocks behind"))
}
