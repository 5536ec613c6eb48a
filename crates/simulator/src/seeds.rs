//! Seeds that failed once. Owns: reading `seeds.txt`. They are run first, always.

/// The file: a seed a line, with a comment that says what it found.
pub const SEEDS: &str = include_str!("../seeds.txt");

/// The seeds in the file.
///
/// # Panics
/// When a line does not begin with a number.
#[must_use]
pub fn kept_seeds() -> Vec<u64> {
    let lines = SEEDS
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    lines
        .filter(|seed| !seed.is_empty())
        .map(|seed| seed.parse().expect("a line of seeds.txt begins with a seed"))
        .collect()
}
