//! One round: load, one fault at a drawn moment, healing, and a check of everything that was done and heard.

use crate::arena::Arena;
use crate::faults::{Cast, Expect, Fault};
use crate::gaps::{Gap, Mark, MarkKind, longest};
use crate::history::{
    Heard, Moment, NamedState, POSITION_QUESTION, Projected, Seal, Violation, check, check_clock,
    check_projected, check_reads, check_states, projection_question,
};
use crate::load::{Clients, Everything, Record, THINK, World, settle, write};
use crate::look::{Looker, View};
use anyhow::{Context, Result, bail, ensure};
use client::Client;
use cluster::Status;
use ledger::CreateAccountResult;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Between a client's requests where a fault is held for long: all that is heard is kept in memory.
const THINK_LONG: Range<Duration> = Duration::from_millis(50)..Duration::from_millis(150);
/// Answers before a fault may come.
const WARM_UP_ANSWERS: usize = 200;
/// How long that many may take.
const WARM_UP_WITHIN: Duration = Duration::from_secs(60);
/// A fault is made within so many milliseconds after the load is warm.
const MOMENT_MS: std::ops::Range<u64> = 200..1_500;
/// How long a fault lasts at least.
const HOLD_MS: std::ops::Range<u64> = 1_500..4_000;
/// How long a fault lasts at least whose danger lies in the end of Patroni's leader key, which lives for 20 s.
const HOLD_FAILOVER_MS: std::ops::Range<u64> = 23_000..30_000;
/// How long the cluster may take to write on while a fault lasts: Patroni alone takes 20 s to see a lost host.
const RECOVER_WITHIN: Duration = Duration::from_secs(45);
/// Writes go on when none is older than this …
const FRESH: Duration = Duration::from_millis(300);
/// … for so long.
const STABLE: Duration = Duration::from_millis(1_500);
/// How long the cluster may take to be healthy after it was healed.
const HEALTHY_WITHIN: Duration = Duration::from_secs(240);
/// How long the nodes may take to show the same.
const AGREE_WITHIN: Duration = Duration::from_secs(20);
/// How long the SQL projection may take to show what the writer shows.
const PROJECTED_WITHIN: Duration = Duration::from_secs(60);
/// A sentinel that acted rests for half a minute.
const WATCHED_WITHIN: Duration = Duration::from_secs(60);
/// Violations of a round that are told in full.
const TOLD_MAX: usize = 8;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Counted from 1.
    pub number: u32,
    /// Of the load, the moment, the duration and whom it hits.
    pub seed: u64,
    /// What.
    pub fault: Fault,
    /// How long the fault is held, if not for a drawn time; clients then take their time, too.
    pub hold: Option<Duration>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was to be done.
    pub plan: Plan,
    /// What was done to whom.
    pub done: String,
    /// How long it lasted.
    pub held: Duration,
    /// Whether writes went on while it lasted.
    pub recovered: bool,
    /// The longest times without an answer.
    pub writes: Gap,
    /// Of linearizable reads.
    pub linearizable: Gap,
    /// Of reads of bounded age.
    pub bounded: Gap,
    /// Of reads of any age.
    pub any: Gap,
    /// Terms of writing begun while it lasted, and timelines of PostgreSQL.
    pub changes: Changes,
    /// From healing until nothing was wrong.
    pub healthy_after: Duration,
    /// Transfers answered.
    pub answered: usize,
    /// Attempts whose outcome their client did not learn.
    pub unknown: usize,
    /// Reads checked.
    pub reads: usize,
    /// Rows of history.
    pub rows: usize,
    /// What is wrong; nothing when every promise was kept.
    pub problems: Vec<String>,
}

/// How often the ledger's writer and PostgreSQL's primary changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Epochs, those included that were claimed and not completed.
    pub epochs: u64,
    /// Timelines.
    pub timelines: u64,
}

/// What a later round checks of an earlier one.
pub struct Sealed {
    /// Whose books.
    pub world: World,
    /// As they were.
    pub seal: Seal,
}

/// Runs a round. Its record is left in the folder when something is wrong, or with `keep_record`.
///
/// # Errors
/// The cluster did not become healthy, or could not be looked at: nothing can be said of what follows on it.
pub async fn run(
    arena: &Arena,
    plan: Plan,
    world: World,
    folder: &Path,
    keep_record: bool,
) -> Result<(Outcome, Sealed)> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    block_in_place(|| arena.wait_until_healthy(HEALTHY_WITHIN)).context("before the round")?;
    if plan.fault.can_move_the_primary() {
        block_in_place(|| arena.wait_until_watched(WATCHED_WITHIN))?;
    }
    let panics = block_in_place(|| arena.panics())?;
    make_accounts(arena, world).await?;
    let record = Arc::new(Record::default());
    let mut clients = {
        let think = plan.hold.map_or(THINK, |_| THINK_LONG);
        Clients::start(&record, &arena.addresses(), world, plan.seed, think).await?
    };
    warm_up(&record, &mut clients).await?;
    let moment = random.random_range(MOMENT_MS);
    tokio::time::sleep(Duration::from_millis(moment)).await;

    let disturbed = disturb(arena, plan, &record, &mut random).await;
    let undone = record.now();
    // Whatever came of it: nothing of it may stay.
    block_in_place(|| arena.nemesis().heal())?;
    let healthy_after = block_in_place(|| arena.wait_until_healthy(HEALTHY_WITHIN));
    let disturbed = disturbed?;
    let flowing = wait_for_writes(&record, STABLE, RECOVER_WITHIN).await;
    // A process takes its clock as it starts, so undoing a shift ends two nodes at once: that is no part of the fault.
    let to = match plan.fault {
        Fault::ClockAhead | Fault::ClockBehind => undone,
        _ => record.now(),
    };
    record.stop();
    clients.join().await?;
    // What is asked once more from here on is no client that waited.
    let marks = record.everything().marks;
    let left = settle(&record, &arena.addresses()[0]).await?;
    let all = record.everything();
    let (mut problems, sealed) = judge(arena, world, plan.number, &all).await.inspect_err(|_| {
        // The look failed; what clients heard is all there is to look into.
        let _ = write(&folder.join("record.jsonl"), &all);
    })?;
    let stamped = check_clock(&all.calls, record.begun());
    problems.extend(told(&stamped, &all));
    if left > 0 {
        problems.push(format!("{left} requests have no outcome after healing"));
    }
    if !flowing {
        problems.push("no writes after healing".to_owned());
    }
    let new_panics = block_in_place(|| arena.panics())?.saturating_sub(panics);
    if new_panics > 0 {
        problems.push(format!("nodes or projections logged {new_panics} panics"));
    }
    if !problems.is_empty() || keep_record {
        write(&folder.join("record.jsonl"), &all)?;
    }
    let Disturbed {
        done,
        from,
        held,
        recovered,
        changes,
    } = disturbed;
    let outcome = Outcome {
        done,
        held,
        recovered,
        changes,
        healthy_after: healthy_after.context("after healing")?,
        problems,
        rows: sealed.seal.len(),
        ..measured(plan, &all, &marks, from, to)
    };
    Ok((outcome, sealed))
}

fn measured(plan: Plan, all: &Everything, marks: &[Mark], from: Moment, to: Moment) -> Outcome {
    let gap = |kind| longest(marks, kind, from, to);
    let heard = |is: fn(&Heard) -> bool| all.calls.iter().filter(|call| is(&call.heard)).count();
    Outcome {
        plan,
        done: String::new(),
        held: Duration::ZERO,
        recovered: false,
        changes: Changes::default(),
        writes: gap(MarkKind::Write),
        linearizable: gap(MarkKind::Linearizable),
        bounded: gap(MarkKind::Bounded),
        any: gap(MarkKind::Any),
        healthy_after: Duration::ZERO,
        answered: heard(|heard| matches!(heard, Heard::Reply(_))),
        unknown: heard(|heard| matches!(heard, Heard::Nothing)),
        reads: all.reads.len(),
        rows: 0,
        problems: Vec::new(),
    }
}

async fn make_accounts(arena: &Arena, world: World) -> Result<()> {
    let client = Client::connect(&format!("http://{}", arena.addresses()[0])).await?;
    let client = client.with_timeout(Duration::from_secs(30));
    let replies = client.submit_accounts(world.accounts()).await?;
    let made = |result| matches!(result, CreateAccountResult::Created | CreateAccountResult::Exists);
    ensure!(
        replies.iter().all(|reply| made(reply.result)),
        "the accounts were not made: {replies:?}"
    );
    Ok(())
}

async fn warm_up(record: &Record, clients: &mut Clients) -> Result<()> {
    let deadline = Instant::now() + WARM_UP_WITHIN;
    loop {
        clients.check()?;
        let marks = record.everything().marks;
        let has = |kind| marks.iter().any(|mark| mark.kind == kind);
        let kinds = [
            MarkKind::Write,
            MarkKind::Linearizable,
            MarkKind::Bounded,
            MarkKind::Any,
        ];
        if marks.len() >= WARM_UP_ANSWERS && kinds.into_iter().all(has) {
            return Ok(());
        }
        let missing: Vec<MarkKind> = kinds.into_iter().filter(|kind| !has(*kind)).collect();
        if Instant::now() >= deadline {
            bail!("before any fault: {} answers, none of {missing:?}", marks.len());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was done, when it began, how long it lasted, whether writes went on, and who changed.
struct Disturbed {
    done: String,
    from: Moment,
    held: Duration,
    recovered: bool,
    changes: Changes,
}

/// Makes the fault and holds it.
async fn disturb(arena: &Arena, plan: Plan, record: &Record, random: &mut StdRng) -> Result<Disturbed> {
    let (nemesis, fault) = (arena.nemesis(), plan.fault);
    let before = block_in_place(|| nemesis.look())?;
    let cast = Cast::of(nemesis.local(), &before)?;
    let range = match fault.expect() {
        Expect::Failover => HOLD_FAILOVER_MS,
        Expect::Recovery | Expect::Patience => HOLD_MS,
    };
    let drawn = Duration::from_millis(random.random_range(range));
    let hold = plan.hold.unwrap_or(drawn);
    let (began, from) = (Instant::now(), record.now());
    let done = block_in_place(|| nemesis.inject(fault, &cast, random))?;
    tokio::time::sleep(hold.saturating_sub(began.elapsed())).await;
    let recovered = match fault.expect() {
        Expect::Recovery | Expect::Failover => wait_for_writes(record, STABLE, RECOVER_WITHIN).await,
        Expect::Patience => wait_for_writes(record, Duration::ZERO, Duration::ZERO).await,
    };
    let after = block_in_place(|| nemesis.look())?;
    Ok(Disturbed {
        done,
        from,
        held: began.elapsed(),
        recovered,
        changes: Changes::between(&before, &after),
    })
}

impl Changes {
    fn between(before: &Status, after: &Status) -> Self {
        let timeline = |status: &Status| {
            let servers = status.hosts.iter().filter_map(|host| host.postgres.as_ref());
            servers.filter_map(|server| server.timeline).max().unwrap_or(0)
        };
        let epoch = |status: &Status| {
            let nodes = status.hosts.iter().filter_map(|host| host.node.as_ref());
            nodes.map(|node| node.epoch).max().unwrap_or(0)
        };
        Self {
            epochs: epoch(after).saturating_sub(epoch(before)),
            timelines: timeline(after).saturating_sub(timeline(before)),
        }
    }
}

/// Whether writes are answered again and again for a while, before a time is over.
async fn wait_for_writes(record: &Record, stable: Duration, within: Duration) -> bool {
    let began = Instant::now();
    let mut since: Option<Instant> = None;
    loop {
        let age = record
            .last_write()
            .map(|at| Duration::from_nanos(record.now().0.saturating_sub(at.0)));
        let now = Instant::now();
        since = match age {
            Some(age) if age < FRESH => since.or(Some(now)),
            _ => None,
        };
        if since.is_some_and(|since| now - since >= stable) {
            return true;
        }
        if began.elapsed() >= within {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Everything that is wrong with what was done and heard, and what stands now.
async fn judge(arena: &Arena, world: World, round: u32, all: &Everything) -> Result<(Vec<String>, Sealed)> {
    let mut states = states(arena, world).await?;
    let mut violations = check_states(world.ledger(), &states);
    let observed = states.swap_remove(0).observed;
    violations.extend(check(&all.calls, &observed));
    violations.extend(check_reads(&all.calls, &all.reads, &observed));
    violations.extend(projected(arena, world).await?);
    let unanswered = all.calls.iter().filter(|call| call.heard.result().is_none());
    let unknown: HashSet<_> = unanswered.map(|call| call.transfer.id).collect();
    let seal = Seal::new(round, &observed, unknown);
    let mut problems = all.complaints.clone();
    problems.truncate(TOLD_MAX);
    problems.extend(told(&violations, all));
    Ok((problems, Sealed { world, seal }))
}

/// The writer's books first, then each node's own. Nodes that lag are waited for; that they never agree is a violation.
/// A follower shows a block only when another one stands on it, so each look is preceded by a request that changes nothing.
async fn states(arena: &Arena, world: World) -> Result<Vec<NamedState>> {
    let deadline = Instant::now() + AGREE_WITHIN;
    loop {
        let last = Instant::now() >= deadline;
        make_accounts(arena, world).await?;
        match look_at_all(arena, world).await {
            Ok(states) if last || check_states(world.ledger(), &states).is_empty() => return Ok(states),
            Err(error) if last => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn look_at_all(arena: &Arena, world: World) -> Result<Vec<NamedState>> {
    let balancer = Looker::new(&arena.addresses()[0], View::Linearizable)?;
    let mut states = vec![balancer.state("the writer", world).await?];
    for (name, address) in arena.nodes() {
        states.push(Looker::new(&address, View::Own)?.state(&name, world).await?);
    }
    Ok(states)
}

/// The tables of the SQL projection against the writer's books. They are waited for; that they never agree is a violation.
async fn projected(arena: &Arena, world: World) -> Result<Vec<Violation>> {
    let deadline = Instant::now() + PROJECTED_WITHIN;
    loop {
        let last = Instant::now() >= deadline;
        match look_at_tables(arena, world).await {
            Ok(violations) if last || violations.is_empty() => return Ok(violations),
            Err(error) if last => return Err(error.context("looking at the SQL projection")),
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// The books only once the tables have caught up, and then anew: transfers expire meanwhile, and books are long.
async fn look_at_tables(arena: &Arena, world: World) -> Result<Vec<Violation>> {
    let Some((height, answer)) = block_in_place(|| arena.projected(POSITION_QUESTION))? else {
        return Ok(Vec::new());
    };
    let projected = Projected::read(&answer).map_err(anyhow::Error::msg)?;
    if let Some(behind) = projected.behind(height) {
        return Ok(vec![behind]);
    }
    let writer = Looker::new(&arena.addresses()[0], View::Linearizable)?;
    let books = writer.observe(world).await?;
    let answer = block_in_place(|| arena.projected(&projection_question(world.ledger())))?;
    let (height, answer) = answer.context("the cluster has no projection any more")?;
    let projected = Projected::read(&answer).map_err(anyhow::Error::msg)?;
    Ok(check_projected(world.ledger(), height, &books, &projected))
}

/// In words, with the calls under the ids concerned.
fn told(violations: &[Violation], all: &Everything) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for violation in violations.iter().take(TOLD_MAX) {
        let mut text = format!("{violation:?}");
        if let Some(id) = violation.transfer() {
            for call in all.calls.iter().filter(|call| call.transfer.id == id) {
                text += &format!(
                    "\n      {} to {} ns: {:?}",
                    call.begun.0, call.ended.0, call.heard
                );
            }
        }
        told.push(text);
    }
    if violations.len() > TOLD_MAX {
        told.push(format!(
            "and {} more broken promises",
            violations.len() - TOLD_MAX
        ));
    }
    told
}

/// Whether what an earlier round left still stands.
///
/// # Errors
/// The writer does not answer.
pub async fn check_sealed(arena: &Arena, sealed: &Sealed) -> Result<Option<Violation>> {
    let looker = Looker::new(&arena.addresses()[0], View::Linearizable)?;
    let observed = looker.observe(sealed.world).await?;
    Ok(sealed.seal.check(&observed))
}
