//! Load and checkers together, against a real node behind a relay that loses answers and breaks connections.

use api::ApiConfig;
use campaign::gaps::{MarkKind, longest};
use campaign::history::{Heard, Moment, Observed, Seal, Violation, check, check_reads, check_states};
use campaign::load::{Clients, Everything, Record, THINK, World, settle};
use campaign::look::{Looker, View};
use client::Client;
use node::{Node, NodeOptions};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const WORLD: World = World(7);
const SEED: u64 = 11;

/// What the relay does with what the server says.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Pass,
    /// Requests arrive, answers are lost.
    Mute,
    /// Nothing gets through, and open connections break.
    Cut,
}

struct Setup {
    node: Node,
    looker: Looker,
    relay: watch::Sender<Mode>,
    address: String,
    record: Arc<Record>,
    _directory: TempDir,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.node.stop();
    }
}

impl Setup {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::new(directory.path());
        options.disk_reserve_bytes = 1 << 20;
        options.segment_bytes = 1 << 20;
        let node = Node::open(&options, |_, _| {}).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(api::serve(
            node.clone(),
            listener,
            ApiConfig::default(),
            std::future::pending(),
        ));
        let (relay, mode) = watch::channel(Mode::Pass);
        let address = start_relay(server, mode).await.to_string();
        let direct = Client::connect(&format!("http://{server}")).await.unwrap();
        direct.submit_accounts(WORLD.accounts()).await.unwrap();
        Self {
            node,
            looker: Looker::new(&server.to_string(), View::Linearizable).unwrap(),
            relay,
            address,
            record: Arc::default(),
            _directory: directory,
        }
    }

    async fn answers(&self, more: usize) {
        let wanted = self.record.everything().marks.len() + more;
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.record.everything().marks.len() < wanted {
            assert!(Instant::now() < deadline, "no more answers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn observe(&self) -> Observed {
        self.looker.observe(WORLD).await.unwrap()
    }
}

async fn start_relay(server: SocketAddr, mode: watch::Receiver<Mode>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            if *mode.borrow() != Mode::Cut {
                tokio::spawn(relay(client, server, mode.clone()));
            }
        }
    });
    address
}

async fn relay(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(count) if count > 0 => server.write_all(&from_client[..count]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(count) if count > 0 && *mode.borrow() == Mode::Pass => {
                    if client.write_all(&from_server[..count]).await.is_err() {
                        return;
                    }
                }
                Ok(count) if count > 0 => {}
                _ => return,
            },
            changed = mode.changed() => if changed.is_err() || *mode.borrow() == Mode::Cut { return },
        }
    }
}

/// The load with connections lost in both ways; then everything settled and looked at.
async fn disturbed_round() -> (Setup, Everything, Observed) {
    let setup = Setup::new().await;
    let addresses = [setup.address.clone()];
    let clients = Clients::start(&setup.record, &addresses, WORLD, SEED, THINK)
        .await
        .unwrap();
    setup.answers(400).await;
    for mode in [Mode::Mute, Mode::Cut, Mode::Mute] {
        setup.relay.send_replace(mode);
        tokio::time::sleep(Duration::from_millis(300)).await;
        setup.relay.send_replace(Mode::Cut);
        setup.relay.send_replace(Mode::Pass);
        setup.answers(200).await;
    }
    setup.record.stop();
    clients.join().await.unwrap();
    assert_eq!(
        settle(&setup.record, &setup.address).await.unwrap(),
        0,
        "all outcomes are known"
    );
    let observed = setup.observe().await;
    let everything = setup.record.everything();
    (setup, everything, observed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_its_promises_passes_and_one_that_does_not_is_found() {
    println!("seed {SEED}");
    let (setup, all, observed) = disturbed_round().await;
    assert_eq!(all.complaints, Vec::<String>::new());
    let unknown = all
        .calls
        .iter()
        .filter(|call| call.heard == Heard::Nothing)
        .count();
    assert!(unknown > 0, "answers were lost");
    assert_eq!(check(&all.calls, &observed), []);
    assert_eq!(check_reads(&all.calls, &all.reads, &observed), []);
    let state = setup.looker.state("node", WORLD).await.unwrap();
    assert_eq!(state.observed, observed);
    assert_eq!(check_states(WORLD.ledger(), &[state.clone(), state]), []);
    let seal = Seal::new(1, &observed, HashSet::new());
    assert_eq!(seal.check(&setup.observe().await), None);

    let mut lost = observed.clone();
    let last = lost.rows.len() - 1;
    lost.rows.remove(last);
    let found = check(&all.calls, &lost);
    assert!(
        found
            .iter()
            .any(|v| matches!(v, Violation::Lost(_) | Violation::BalanceDiffers(_)))
    );
    assert!(matches!(seal.check(&lost), Some(Violation::SealBroken { .. })));
    let mut stale = all.reads.clone();
    let newest = stale.iter_mut().max_by_key(|read| read.begun).unwrap();
    newest.seen.debits_posted.0 += 1;
    assert!(!check_reads(&all.calls, &stale, &observed).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_gets_through_the_gap_of_writes_and_reads_grows() {
    let setup = Setup::new().await;
    let addresses = [setup.address.clone()];
    let clients = Clients::start(&setup.record, &addresses, WORLD, SEED, THINK)
        .await
        .unwrap();
    setup.answers(100).await;
    let from = setup.record.now();
    setup.relay.send_replace(Mode::Cut);
    tokio::time::sleep(Duration::from_millis(700)).await;
    setup.relay.send_replace(Mode::Pass);
    setup.answers(200).await;
    let to = setup.record.now();
    setup.record.stop();
    clients.join().await.unwrap();
    let marks = setup.record.everything().marks;
    for kind in [MarkKind::Write, MarkKind::Linearizable, MarkKind::Any] {
        let gap = longest(&marks, kind, from, to);
        assert!(gap.service >= Duration::from_millis(600), "{kind:?} {gap:?}");
        assert!(gap.client >= gap.service);
    }
    let before = longest(&marks, MarkKind::Write, Moment(0), from);
    assert!(before.service <= longest(&marks, MarkKind::Write, Moment(0), to).service);
}
