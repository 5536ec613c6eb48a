//! A short run of the simulator, and the proof that it can fail.

use simulator::{Canary, Options, Statistics, kept_seeds, run};

/// Seeds among which every canary is found.
const SEEDS: std::ops::Range<u64> = 1..120;

fn total(seeds: impl Iterator<Item = u64>) -> Statistics {
    let mut total = Statistics::default();
    for seed in seeds {
        match run(seed, Options::default()) {
            Ok(statistics) => total += statistics,
            Err(failed) => panic!("{failed}\n{}", failed.trace.join("\n")),
        }
    }
    total
}

#[test]
fn seeds_that_failed_once_hold_now() {
    total(kept_seeds().into_iter());
}

#[test]
fn every_promise_holds_where_canaries_are_found_and_every_fault_happened() {
    let total = total(SEEDS);
    println!("{total}");
    let met = [
        ("power losses", total.power_losses),
        ("kills", total.kills),
        ("crashes inside an operation", total.crashes_in_operation),
        ("crashes during recovery", total.crashes_in_recovery),
        ("nodes that stopped themselves", total.stops),
        ("stops in order", total.graceful),
        ("refused starts", total.refused_starts),
        ("blocks under way that landed", total.landed),
        ("failed operations", total.faults),
        ("torn files", total.torn),
        ("flipped bits", total.flips),
        ("writes without room", total.full),
        ("refused requests", total.refused),
        ("requests past their deadline", total.expired),
        ("acknowledged events", total.acknowledged_events),
        ("reads", total.reads),
        ("queries of history", total.queries),
    ];
    for (what, count) in met {
        assert!(count > 0, "no {what}: the schedules prove nothing about them");
    }
}

#[test]
fn every_canary_is_found() {
    for canary in Canary::ALL {
        let options = Options {
            canary: Some(canary),
            ..Options::default()
        };
        let found = SEEDS.clone().find_map(|seed| run(seed, options).err());
        let failed = found.unwrap_or_else(|| panic!("{canary:?} is found by no seed of {SEEDS:?}"));
        println!("{canary:?}: {failed}");
    }
}

#[test]
fn a_seed_is_one_schedule_however_often_it_is_run() {
    for seed in [3, 17, 76] {
        let once = run(seed, Options::default()).expect("the seed holds");
        assert_eq!(
            once,
            run(seed, Options::default()).expect("the seed holds"),
            "seed {seed}"
        );
        let canary = Options {
            canary: Some(Canary::LateSync),
            ..Options::default()
        };
        let reasons =
            [run(seed, canary), run(seed, canary)].map(|result| result.map_err(|failed| failed.trace));
        assert_eq!(reasons[0], reasons[1], "seed {seed}");
    }
}
