//! Seeds that failed once. Owns: reading `seeds.txt` and `cluster-seeds.txt`. They are run first, always.

/// The file: a seed a line, with a comment that says what it found.
pub const SEEDS: &str = include_str!("../seeds.txt");
/// The same for schedules of a cluster.
pub const CLUSTER_SEEDS: &str = include_str!("../cluster-seeds.txt");

/// The seeds in `seeds.txt`.
///
/// # Panics
/// When a line does not begin with a number.
#[must_use]
pub fn kept_seeds() -> Vec<u64> {
    parse(SEEDS)
}

/// The seeds in `cluster-seeds.txt`.
///
/// # Panics
/// As [`kept_seeds`].
#[must_use]
pub fn kept_cluster_seeds() -> Vec<u64> {
    parse(CLUSTER_SEEDS)
}

fn parse(text: &str) -> Vec<u64> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    lines
        .filter(|seed| !seed.is_empty())
        .map(|seed| seed.parse().expect("a line begins with a seed"))
        .collect()
}
