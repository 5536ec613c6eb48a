//! A short run of the cluster's simulator, and the proof that it can fail.

use simulator::{ClusterCanary, ClusterOptions, ClusterStatistics, kept_cluster_seeds, run_cluster};

/// How many seeds are tried to find a canary.
const TRIED: u64 = 700;
/// Canaries that need a rare order of events, with the seed from which on they are looked for.
const FROM: [(ClusterCanary, u64); 2] = [
    (ClusterCanary::AnyTerm, 2_400),
    (ClusterCanary::UnconfirmedRead, 6_000),
];
/// Seeds that are run without one.
const SHORT: std::ops::Range<u64> = 1..400;

fn total(seeds: impl Iterator<Item = u64>) -> ClusterStatistics {
    let mut total = ClusterStatistics::default();
    for seed in seeds {
        match run_cluster(seed, ClusterOptions::default()) {
            Ok(statistics) => total += statistics,
            Err(failed) => panic!("{failed}\n{}", failed.trace.join("\n")),
        }
    }
    total
}

#[test]
fn seeds_of_a_cluster_that_failed_once_hold_now() {
    total(kept_cluster_seeds().into_iter());
}

#[test]
fn every_promise_of_a_cluster_holds_and_everything_that_can_go_wrong_did() {
    let total = total(SHORT);
    println!("{total}");
    for (what, count) in total.all() {
        assert!(count > 0, "no {what}: the schedules prove nothing about them");
    }
}

#[test]
fn every_canary_of_a_cluster_is_found() {
    for canary in ClusterCanary::ALL {
        let options = ClusterOptions {
            canary: Some(canary),
            ..ClusterOptions::default()
        };
        let from = FROM.iter().find(|(rare, _)| *rare == canary);
        let first = from.map_or(1, |(_, seed)| *seed);
        let mut seeds = first..first + TRIED;
        let found = seeds.find_map(|seed| run_cluster(seed, options).err());
        let failed = found.unwrap_or_else(|| panic!("{canary:?} is found by no seed from {first} on"));
        assert!(
            !failed.reason.0.contains("does not come to rest"),
            "{canary:?} is not what failed: {failed}"
        );
        println!("{canary:?}: {failed}");
    }
}

#[test]
fn a_seed_of_a_cluster_is_one_schedule_however_often_it_is_run() {
    for seed in [3, 17, 166] {
        let once = run_cluster(seed, ClusterOptions::default()).expect("the seed holds");
        let again = run_cluster(seed, ClusterOptions::default()).expect("the seed holds");
        assert_eq!(once, again, "seed {seed}");
        let canary = ClusterOptions {
            canary: Some(ClusterCanary::SpeculativeReply),
            ..ClusterOptions::default()
        };
        let traces = [run_cluster(seed, canary), run_cluster(seed, canary)]
            .map(|result| result.map_err(|failed| failed.trace));
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
