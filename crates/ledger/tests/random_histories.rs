//! The engine against the naive model, on long random histories: every reply, row, balance and expiry must agree,
//! whatever was forgotten, snapshotted, restored or replayed on the way.

use ledger::{
    ActorId, Command, CommandBody, CreateTransferResult, Ledger, Outcome, RowKind, RowNumber, TimestampNs,
    TransferFlags,
};
use ledger_model::{Generator, MemoryArchive, Model, Shape};
use std::collections::{BTreeMap, VecDeque};

/// A run of the engine beside the model.
struct Run {
    seed: u64,
    generator: Generator,
    model: Model,
    ledger: Ledger,
    archive: MemoryArchive,
    /// What the archive does not have yet. It panics when it is asked for these.
    unarchived: VecDeque<Outcome>,
    outcome: Outcome,
    /// A snapshot, and all that was applied since: for replays behind an archive that is ahead.
    checkpoint: Vec<u8>,
    since: Vec<(TimestampNs, Command, Outcome)>,
}

impl Run {
    fn new(seed: u64, shape: Shape) -> Self {
        let mut run = Self {
            seed,
            generator: Generator::new(seed, shape),
            model: Model::default(),
            ledger: Ledger::with_hash_seed(seed),
            archive: MemoryArchive::default(),
            unarchived: VecDeque::new(),
            outcome: Outcome::default(),
            checkpoint: Vec::new(),
            since: Vec::new(),
        };
        run.ledger.set_generation_rows_min(3);
        run.take_checkpoint();
        run
    }

    fn step(&mut self) {
        let (now, command) = self.generator.next_command(&self.model);
        let expected = self.model.apply(now, &command);
        self.ledger
            .apply(&self.archive, now, &command, &mut self.outcome)
            .expect("the archive answers");
        assert_eq!(self.outcome, expected, "seed {}: {command:#?}", self.seed);
        assert_eq!(
            self.ledger.last_timestamp(),
            self.model.last_timestamp,
            "seed {}",
            self.seed
        );
        assert_eq!(
            self.ledger.rows(),
            RowNumber(self.model.rows),
            "seed {}",
            self.seed
        );
        assert_eq!(
            self.ledger.next_expiry(),
            self.model.next_expiry(),
            "seed {}",
            self.seed
        );
        self.unarchived.push_back(self.outcome.clone());
        self.since.push((now, command, self.outcome.clone()));
        self.disturb();
    }

    /// The archive catches up by some commands.
    fn archive_some(&mut self, count: usize) {
        let count = count.min(self.unarchived.len());
        for outcome in self.unarchived.drain(..count) {
            self.archive.append(&outcome);
        }
    }

    /// What must change nothing.
    fn disturb(&mut self) {
        let count = self.generator.below(3) as usize;
        self.archive_some(count);
        match self.generator.below(12) {
            0..4 => {
                let below = self.generator.below(self.archive.rows().0 + 1);
                self.ledger.forget_archived(RowNumber(below));
            }
            4 => self.ledger.forget_archived(self.archive.rows()),
            5 => {
                self.archive_some(usize::MAX);
                let bytes = self.encoded();
                self.restore(&bytes);
                assert_eq!(
                    bytes,
                    self.encoded(),
                    "seed {}: a restored ledger is the same",
                    self.seed
                );
            }
            6 => self.take_checkpoint(),
            7 if self.generator.below(4) == 0 => self.replay(),
            _ => {}
        }
    }

    fn encoded(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ledger
            .snapshot()
            .encode(&mut bytes)
            .expect("memory takes everything");
        bytes
    }

    fn restore(&mut self, bytes: &[u8]) {
        // Another secret for the tables: it may influence nothing.
        let secret = self.generator.below(u64::MAX);
        self.ledger = Ledger::restore_with_hash_seed(bytes, secret).expect("our own bytes are restored");
        self.ledger.set_generation_rows_min(3);
    }

    fn take_checkpoint(&mut self) {
        self.archive_some(usize::MAX);
        self.checkpoint = self.encoded();
        self.since.clear();
    }

    /// Back to the checkpoint; the archive is ahead of the ledger until all is replayed.
    fn replay(&mut self) {
        self.archive_some(usize::MAX);
        let before = self.encoded();
        let checkpoint = std::mem::take(&mut self.checkpoint);
        self.restore(&checkpoint);
        for (_, command, expected) in &self.since {
            // Logged timestamps stand in for the clock.
            self.ledger
                .apply(&self.archive, expected.timestamp, command, &mut self.outcome)
                .expect("the archive answers");
            assert_eq!(
                self.outcome, *expected,
                "seed {}: replay of {command:#?}",
                self.seed
            );
        }
        self.checkpoint = checkpoint;
        assert_eq!(
            before,
            self.encoded(),
            "seed {}: replay ends in the same state",
            self.seed
        );
    }

    fn check_state(&mut self) {
        self.archive_some(usize::MAX);
        let seed = self.seed;
        assert_eq!(self.ledger.check_invariants(), [], "seed {seed}");
        assert_eq!(
            self.ledger.accounts_len() as usize,
            self.model.accounts.len(),
            "seed {seed}"
        );
        for (id, expected) in &self.model.accounts {
            let (number, account) = self.ledger.account(*id).expect("the model's account exists");
            assert_eq!(
                (number, *account),
                (expected.number, self.model.account(*id).unwrap()),
                "seed {seed}"
            );
        }
        assert_eq!(self.ledger.open_pendings(), self.model.open.len(), "seed {seed}");
        for id in &self.model.open {
            assert_eq!(
                self.ledger.open_pending(*id),
                Some(&self.model.transfers[id].transfer),
                "seed {seed}"
            );
        }
        let descriptions: Vec<_> = self.model.descriptions.values().cloned().collect();
        assert_eq!(
            self.ledger.descriptions().cloned().collect::<Vec<_>>(),
            descriptions,
            "seed {seed}"
        );
        self.check_rows();
    }

    /// The balances of every account equal the sum of its rows, and rows rise in time.
    fn check_rows(&self) {
        let mut sums: BTreeMap<u32, [u128; 4]> = BTreeMap::new();
        let (mut last, mut before) = (TimestampNs(0), TimestampNs(0));
        let amounts: BTreeMap<_, _> = self
            .archive
            .all()
            .iter()
            .map(|row| (row.transfer.id, row.transfer.amount.0))
            .collect();
        for row in self.archive.all() {
            assert!(
                row.transfer.timestamp >= before,
                "seed {}: no row goes back in time",
                self.seed
            );
            before = row.transfer.timestamp;
            if row.kind == RowKind::Burnt {
                continue;
            }
            assert!(
                row.transfer.timestamp > last,
                "seed {}: transfers rise in time",
                self.seed
            );
            last = row.transfer.timestamp;
            let flags = row.transfer.flags;
            let amount = row.transfer.amount.0;
            let (pending, released, posted) = if row.kind == RowKind::Expired {
                (0, amount, 0)
            } else if flags.contains(TransferFlags::PENDING) {
                (amount, 0, 0)
            } else if flags.contains(TransferFlags::POST_PENDING_TRANSFER) {
                (0, amounts[&row.transfer.pending_id], amount)
            } else if flags.contains(TransferFlags::VOID_PENDING_TRANSFER) {
                (0, amount, 0)
            } else {
                (0, 0, amount)
            };
            for (number, offset) in [(row.debit, 0), (row.credit, 2)] {
                let sum = sums.entry(number.0).or_default();
                sum[offset] = sum[offset] + pending - released;
                sum[offset + 1] += posted;
            }
        }
        for account in self.model.accounts.values() {
            let sum = sums.get(&account.number.0).copied().unwrap_or_default();
            let b = account.balances;
            let totals = [
                b.debits_pending.0,
                b.debits_posted.0,
                b.credits_pending.0,
                b.credits_posted.0,
            ];
            assert_eq!(sum, totals, "seed {}: account {}", self.seed, account.given.id);
        }
    }
}

fn long() -> bool {
    std::env::var("SHANRAQ_LONG").is_ok_and(|value| value == "1")
}

#[test]
fn the_engine_agrees_with_the_naive_model() {
    let (seeds, steps) = if long() { (3_000, 1_000) } else { (400, 500) };
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds {
        println!("seed {seed}");
        let shape = match seed % 4 {
            0 => Shape::default(),
            1 => Shape {
                accounts: 5,
                ids_back: 60,
                ..Shape::default()
            },
            2 => Shape {
                events_max: 40,
                ids_back: 2_000,
                ..Shape::default()
            },
            // Close to the end of time, where timeouts overflow.
            _ => Shape {
                start: TimestampNs(i64::MAX as u64 - 4_000_000_000_000_000),
                ..Shape::default()
            },
        };
        let mut run = Run::new(seed, shape);
        for step in 0..steps {
            run.step();
            for reply in &run.outcome.transfers {
                *seen.entry(reply.result.name()).or_default() += 1;
            }
            if step % 50 == 0 {
                run.check_state();
            }
        }
        run.check_state();
    }
    println!("results reached: {seen:#?}");
    for code in CreateTransferResult::ALL {
        assert!(
            seen.contains_key(code.name()),
            "histories have become too tame: no {code}"
        );
    }
}

#[test]
fn the_hash_seed_influences_nothing() {
    let mut generator = Generator::new(7, Shape::default());
    let mut model = Model::default();
    let mut ledgers = [Ledger::with_hash_seed(1), Ledger::with_hash_seed(u64::MAX)];
    let mut outcomes = [Outcome::default(), Outcome::default()];
    for _ in 0..300 {
        let (now, command) = generator.next_command(&model);
        model.apply(now, &command);
        for (ledger, outcome) in ledgers.iter_mut().zip(&mut outcomes) {
            ledger
                .apply(&ledger::NoArchive, now, &command, outcome)
                .expect("nothing is archived");
        }
        assert_eq!(outcomes[0], outcomes[1]);
    }
    let [first, second] = ledgers.map(|mut ledger| {
        let mut bytes = Vec::new();
        ledger
            .snapshot()
            .encode(&mut bytes)
            .expect("memory takes everything");
        bytes
    });
    assert_eq!(first, second, "equal states encode to equal bytes");
}

#[test]
fn every_command_takes_a_time_of_its_own_even_when_the_clock_stands() {
    let mut ledger = Ledger::new();
    let mut outcome = Outcome::default();
    let command = Command {
        actor: ActorId(0),
        body: CommandBody::BeginEpoch,
    };
    for expected in [5, 6, 7] {
        ledger
            .apply(&ledger::NoArchive, TimestampNs(5), &command, &mut outcome)
            .expect("nothing is archived");
        assert_eq!(outcome.timestamp, TimestampNs(expected));
    }
}
