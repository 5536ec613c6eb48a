//! The fault campaign's command line; `cargo xtask campaign` is the way in.

use anyhow::{Context, Result, bail};
use campaign::arena::Arena;
use campaign::faults::Fault;
use campaign::load::World;
use campaign::report::Report;
use campaign::round::{Plan, Sealed, check_sealed, run};
use clap::Parser;
use rand::TryRng;
use rand::rngs::SysRng;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Load on a cluster, one fault a round, everything checked. Exit code 0: every promise was kept; 1: one was broken, or the
/// campaign failed.
#[derive(Parser)]
struct Cli {
    /// The `shanraq` binary.
    #[arg(long)]
    binary: PathBuf,
    /// Names of faults, separated by commas; default: all of them, in turn.
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// How many rounds; default: one for each fault.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// After so many rounds a new cluster takes the old one's place, whose journal is verified first: what a round costs in disk
    /// and time does not grow for ever.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    rounds_per_cluster: u32,
    /// Hold each fault for so long, instead of some seconds; clients then wait longer between their requests. With `--faults busy-and-far
    /// --hold-minutes 60` nobody may lose their place for an hour.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    hold_minutes: Option<u64>,
    /// Of the first round; each further one adds 1. Drawn when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The cluster's directory, which is removed first; user postgres must be able to reach it.
    #[arg(long, default_value = "/var/lib/shanraq/campaign")]
    dir: PathBuf,
    /// Take the cluster that runs there, if it is healthy, and leave it running.
    #[arg(long)]
    keep: bool,
    /// Leave the record of every round, not of failed ones alone.
    #[arg(long)]
    records: bool,
    /// Where the report is left, with records and logs of failed rounds and logs of those with `--hold-minutes`.
    #[arg(long, default_value = "target/campaign")]
    out: PathBuf,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match campaign(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn campaign(cli: &Cli) -> Result<()> {
    let seed = match cli.seed {
        Some(seed) => seed,
        // Small enough to be typed.
        None => SysRng.try_next_u64().context("the system gives no randomness")? % 1_000_000_000,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    std::fs::create_dir_all(&cli.out)?;
    let faults = if cli.faults.is_empty() {
        Fault::ALL
    } else {
        &cli.faults
    };
    let mut course = Course {
        cli,
        small_disks: faults
            .iter()
            .any(|fault| matches!(fault, Fault::DataFull | Fault::WalFull)),
        arena: None,
        report: Report::default(),
        sealed: Vec::new(),
    };
    let rounds = cli.rounds.unwrap_or(u32::try_from(faults.len())?);
    println!("seed {seed}, {rounds} rounds over {} faults", faults.len());
    let course_ended = course.run(&runtime, faults, rounds, seed);
    // The report of what was done is worth having, however it ended.
    course.finish()?;
    course_ended?;
    match course.report.failures() {
        0 => Ok(()),
        failures => bail!(
            "{failures} rounds failed (seed {seed}); see {}",
            cli.out.display()
        ),
    }
}

struct Course<'a> {
    cli: &'a Cli,
    /// A disk in a file is slower than the machine's: hosts have them only where one is to be filled.
    small_disks: bool,
    arena: Option<Arena>,
    report: Report,
    sealed: Vec<Sealed>,
}

impl Course<'_> {
    fn run(
        &mut self,
        runtime: &tokio::runtime::Runtime,
        faults: &[Fault],
        rounds: u32,
        seed: u64,
    ) -> Result<()> {
        for (number, seed) in (1..=rounds).zip(seed..) {
            let fault = Fault::of_seed(faults, seed);
            let plan = Plan {
                number,
                seed,
                fault,
                hold: self.cli.hold_minutes.map(Duration::from_mins),
            };
            if number > 1 && (number - 1) % self.cli.rounds_per_cluster == 0 {
                self.leave_cluster(runtime)?;
            }
            self.ensure_arena()?;
            let arena = self.arena.as_ref().context("it was just set up")?;
            if let Some(why) = arena.nemesis().unavailable(fault) {
                println!("round {number}: {fault} cannot be made here: {why}");
                if !self.report.unavailable.iter().any(|(known, _)| *known == fault) {
                    self.report.unavailable.push((fault, why));
                }
                continue;
            }
            self.round(runtime, plan)?;
            self.write_report()?;
        }
        self.leave_cluster(runtime)
    }

    /// Looks at everything that it has once more, and ends it unless it is to be kept.
    fn leave_cluster(&mut self, runtime: &tokio::runtime::Runtime) -> Result<()> {
        self.check_all_sealed(runtime)?;
        self.sealed.clear();
        self.verify_journal();
        self.write_report()?;
        self.end_arena(false)
    }

    fn ensure_arena(&mut self) -> Result<()> {
        if self.arena.is_none() {
            println!("setting up a cluster in {}", self.cli.dir.display());
            self.arena = Some(Arena::up(
                &self.cli.dir,
                &self.cli.binary,
                self.cli.keep,
                self.small_disks,
            )?);
        }
        Ok(())
    }

    fn round(&mut self, runtime: &tokio::runtime::Runtime, plan: Plan) -> Result<()> {
        let arena = self.arena.as_ref().context("it was just set up")?;
        let folder = self.cli.out.join(format!("{}-{}", plan.seed, plan.fault));
        std::fs::create_dir_all(&folder)?;
        println!("round {}: {}, seed {}", plan.number, plan.fault, plan.seed);
        let ended = runtime.block_on(run(arena, plan, world()?, &folder, self.cli.records));
        match ended {
            Ok((outcome, sealed)) => {
                println!(
                    "    {}; held {:.1} s, {}; gaps: writes {} ms (one client {} ms), linearizable {} ms, bounded {} ms, any {} ms; {} epochs and {} timelines begun; healthy after {:.1} s; {} answered, {} unknown",
                    outcome.done,
                    outcome.held.as_secs_f64(),
                    if outcome.recovered {
                        "recovered"
                    } else {
                        "not recovered before healing"
                    },
                    outcome.writes.service.as_millis(),
                    outcome.writes.client.as_millis(),
                    outcome.linearizable.service.as_millis(),
                    outcome.bounded.service.as_millis(),
                    outcome.any.service.as_millis(),
                    outcome.changes.epochs,
                    outcome.changes.timelines,
                    outcome.healthy_after.as_secs_f64(),
                    outcome.answered,
                    outcome.unknown
                );
                let leaves_nothing = outcome.problems.is_empty() && plan.hold.is_none() && !self.cli.records;
                if leaves_nothing {
                    std::fs::remove_dir_all(&folder)?;
                } else {
                    for problem in &outcome.problems {
                        println!("    FAILED: {problem}");
                    }
                    arena.save_logs(&folder)?;
                }
                self.sealed.push(sealed);
                self.report.outcomes.push(outcome);
            }
            Err(error) => {
                println!("    NOT ENDED: {error:#}; logs in {}", folder.display());
                arena.save_logs(&folder)?;
                self.report
                    .broken
                    .push((plan.fault, plan.seed, format!("{error:#}")));
                // Nothing more can be learnt from this cluster; its logs are saved.
                self.sealed.clear();
                self.end_arena(true)?;
            }
        }
        Ok(())
    }

    /// A later failover must not lose what an earlier round left.
    fn check_all_sealed(&mut self, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let Some(arena) = &self.arena else { return Ok(()) };
        println!("checking {} earlier rounds once more", self.sealed.len());
        for sealed in &self.sealed {
            let Some(violation) = runtime.block_on(check_sealed(arena, sealed))? else {
                continue;
            };
            println!("    FAILED: {violation:?}");
            let round = |outcome: &&mut campaign::round::Outcome| outcome.plan.number == sealed.seal.round;
            if let Some(outcome) = self.report.outcomes.iter_mut().find(round) {
                outcome.problems.push(format!("{violation:?}"));
            }
        }
        Ok(())
    }

    fn verify_journal(&mut self) {
        let Some(arena) = &self.arena else { return };
        println!("walking through the whole journal");
        let verified = arena.verify(&self.cli.out);
        self.report
            .verified
            .push(verified.map_err(|error| format!("{error:#}")));
    }

    fn end_arena(&mut self, broken: bool) -> Result<()> {
        if let Some(arena) = self.arena.take()
            && (broken || !self.cli.keep)
        {
            arena.down()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.write_report()?;
        if self.cli.json {
            println!("{}", self.report.json());
        } else {
            println!("\n{}", self.report.markdown());
        }
        self.end_arena(false)
    }

    /// After each round, so that nothing is lost when the campaign is stopped.
    fn write_report(&self) -> Result<()> {
        let write = |name: &str, text: String| {
            let path: &Path = &self.cli.out.join(name);
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("report.json", self.report.json().to_string())?;
        write("report.md", self.report.markdown())
    }
}

/// One that no round before had, on whatever cluster.
fn world() -> Result<World> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(World(u32::try_from(now.as_secs())?))
}
