//! The balancing algorithms that can be chosen, each by where HAProxy takes connections with the configuration that is
//! rendered for it. The servers behind it only tell their names.

use cluster::{BalanceAlgorithm, Directories, HostName, Machine, Topology, render};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod support;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVERS: u8 = 3;

/// A PostgreSQL server and its Patroni, as far as a balancer sees them.
#[derive(Clone, Default)]
struct Server {
    /// Patroni says that it is no replica.
    is_lost: Arc<AtomicBool>,
    /// Connections to PostgreSQL that are open.
    open: Arc<AtomicUsize>,
}

impl Server {
    fn start(address: Ipv4Addr, topology: &Topology, name: u8) -> Self {
        let server = Self::default();
        let listen = |port| TcpListener::bind((address, port)).unwrap();
        let (patroni, postgres) = (listen(topology.ports.patroni), listen(topology.ports.postgres));
        let asked = server.clone();
        thread::spawn(move || {
            patroni
                .incoming()
                .for_each(|stream| asked.answer_check(&mut stream.unwrap()))
        });
        let taken = server.clone();
        thread::spawn(move || {
            for stream in postgres.incoming() {
                let (server, mut stream) = (taken.clone(), stream.unwrap());
                server.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // Whoever asked may be gone again.
                    let _ = stream.write_all(&[name]);
                    let _ = stream.read(&mut [0]);
                    server.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    fn answer_check(&self, stream: &mut TcpStream) {
        let mut request = [0; 1_024];
        let _ = stream.read(&mut request);
        let status = if self.is_lost.load(Ordering::SeqCst) {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// HAProxy before three servers.
struct Balancer {
    port: SocketAddr,
    servers: Vec<Server>,
    process: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A network of this test's own within the loopback network.
fn network() -> [u8; 3] {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    [
        127,
        100 + high % 100,
        low.wrapping_add(100 * NEXT.fetch_add(1, Ordering::SeqCst) as u8),
    ]
}

impl Balancer {
    fn start(algorithm: BalanceAlgorithm) -> Self {
        let [a, b, c] = network();
        let directory = tempfile::tempdir().unwrap();
        support::open_to_all(directory.path());
        let mut topology = support::three_hosts();
        topology.nodes = false;
        topology.projection = false;
        topology.shared_address = None;
        topology.balance.replicas = algorithm;
        for (number, host) in (1..).zip(&mut topology.hosts) {
            host.address = Ipv4Addr::new(a, b, c, number);
            let own = directory.path().join(host.name.to_string());
            std::fs::create_dir(&own).unwrap();
            host.directories = Directories {
                config: own.clone(),
                data: own.join("data"),
                wal: None,
                run: own.clone(),
                log: own,
            };
        }
        topology.check().unwrap();
        let servers: Vec<_> = (1..=SERVERS)
            .map(|number| Server::start(Ipv4Addr::new(a, b, c, number), &topology, number))
            .collect();
        let host = topology.host(&HostName("h1".to_owned())).unwrap();
        let machine = Machine {
            memory_bytes: 1 << 30,
            disk_bytes: 1 << 30,
        };
        let files = render(&topology, host, machine, &support::fixed_secrets());
        let config = files
            .iter()
            .find(|file| file.path.ends_with("haproxy.cfg"))
            .unwrap();
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, &config.text).unwrap();
        let process = Command::new(&topology.programs.haproxy)
            .args(["-db", "-f"])
            .arg(&path)
            .spawn()
            .unwrap();
        let balancer = Self {
            port: SocketAddr::from((host.address, topology.ports.balancer_replicas)),
            servers,
            process,
            _directory: directory,
        };
        balancer.wait("HAProxy listens", || TcpStream::connect(balancer.port).is_ok());
        balancer.wait_until_idle();
        balancer
    }

    /// Connects from an address, and gives the server's name with the connection.
    fn connect_from(&self, source: Ipv4Addr) -> (u8, TcpStream) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::V4(SocketAddrV4::new(source, 0)).into())
            .unwrap();
        socket.connect(&self.port.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        let mut name = [0];
        stream.read_exact(&mut name).unwrap();
        (name[0], stream)
    }

    fn connect(&self) -> (u8, TcpStream) {
        self.connect_from(Ipv4Addr::LOCALHOST)
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_idle(&self) {
        let is_idle = |server: &Server| server.open.load(Ordering::SeqCst) == 0;
        self.wait("no connection is open", || self.servers.iter().all(is_idle));
    }
}

/// How many connections each server has.
fn counted(connections: &[(u8, TcpStream)]) -> [usize; SERVERS as usize] {
    std::array::from_fn(|at| {
        connections
            .iter()
            .filter(|(name, _)| usize::from(*name) == at + 1)
            .count()
    })
}

#[test]
fn round_robin_takes_servers_in_turn_whatever_is_open() {
    let balancer = Balancer::start(BalanceAlgorithm::Roundrobin);
    let mut open: Vec<_> = (0..12).map(|_| balancer.connect()).collect();
    open.retain(|(name, _)| *name != 3);
    balancer.wait("one server is free", || {
        balancer.servers[2].open.load(Ordering::SeqCst) == 0
    });
    let new: Vec<_> = (0..9).map(|_| balancer.connect()).collect();
    // The fewest connections would bring five at least to the free one. HAProxy may begin its turns anew once.
    assert!(
        counted(&new).iter().all(|count| (2..=4).contains(count)),
        "{:?}",
        counted(&new)
    );
}

#[test]
fn least_connections_evens_out_what_stays_open() {
    let balancer = Balancer::start(BalanceAlgorithm::Leastconn);
    let mut open: Vec<_> = (0..6).map(|_| balancer.connect()).collect();
    assert_eq!(counted(&open), [2, 2, 2]);
    open.retain(|(name, _)| *name == 3);
    let is_free = |at: usize| balancer.servers[at].open.load(Ordering::SeqCst) == 0;
    balancer.wait("two servers are free", || is_free(0) && is_free(1));
    open.extend((0..7).map(|_| balancer.connect()));
    // In turn, the third would have four at least.
    assert_eq!(counted(&open), [3, 3, 3]);
}

#[test]
fn consistent_hashing_keeps_callers_and_moves_only_those_of_a_lost_server() {
    let balancer = Balancer::start(BalanceAlgorithm::ConsistentHash);
    let callers = || (1..=60).map(|number| Ipv4Addr::new(127, 99, 0, number));
    let places = || -> BTreeMap<_, _> {
        let place = |caller| (caller, balancer.connect_from(caller).0);
        callers().map(place).collect()
    };
    let before = places();
    assert_eq!(before.values().collect::<BTreeSet<_>>().len(), 3, "{before:?}");
    assert_eq!(places(), before, "each comes to the same server again");

    let lost = before[&Ipv4Addr::new(127, 99, 0, 1)];
    balancer.servers[usize::from(lost) - 1]
        .is_lost
        .store(true, Ordering::SeqCst);
    let is_away = || balancer.connect_from(Ipv4Addr::new(127, 99, 0, 1)).0 != lost;
    balancer.wait("a check finds it lost", is_away);
    let after = places();
    assert!(after.values().all(|place| *place != lost), "{after:?}");
    for (caller, place) in before.into_iter().filter(|(_, place)| *place != lost) {
        assert_eq!(after[&caller], place, "{caller} had no reason to move");
    }
}
