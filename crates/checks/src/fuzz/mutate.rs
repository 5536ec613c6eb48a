//! Makes inputs that are nearly right (pure). Same seed, same inputs.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Past this an input grows no more.
const LENGTH_MAX: usize = 256 * 1024;
/// Values at which lengths, counts and amounts go wrong, little endian.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 63,
    u64::MAX,
];
/// The same for text.
const EDGE_TEXTS: [&str; 10] = [
    "0",
    "-1",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "0.001",
    "1e400",
    "\u{feff}",
    "\u{0}",
    "&#x10FFFF;",
    "\u{202e}",
];

/// An endless source of inputs, each a seed that was changed a little.
pub struct Mutator<'a> {
    random: StdRng,
    seeds: &'a [Vec<u8>],
    dictionary: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    /// Draws from `seeds` (at least one), with words that the format knows.
    ///
    /// # Panics
    /// When there is no seed.
    #[must_use]
    pub fn new(seed: u64, seeds: &'a [Vec<u8>], dictionary: &'a [&'a [u8]]) -> Self {
        assert!(!seeds.is_empty(), "a mutator needs something to change");
        Self {
            random: StdRng::seed_from_u64(seed),
            seeds,
            dictionary,
        }
    }

    /// The next input.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.seed().clone();
        // Mostly few changes: the further from a right input, the earlier a reader gives up.
        for _ in 0..1 + self.random.random_range(0..8u32) * self.random.random_range(0..2u32) {
            self.change(&mut input);
        }
        input.truncate(LENGTH_MAX);
        input
    }

    fn seed(&mut self) -> &'a Vec<u8> {
        let index = self.random.random_range(0..self.seeds.len());
        &self.seeds[index]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        match self.random.random_range(0..10u32) {
            0 => self.flip_bit(input),
            1 => self.set_byte(input),
            2 => self.overwrite_with_edge(input),
            3 => self.remove_piece(input),
            4 => self.repeat_piece(input),
            5 => self.move_piece(input),
            6 => self.splice(input),
            7 => self.insert_word(input),
            8 => self.change_digit(input),
            _ => self.cut_or_extend(input),
        }
    }

    fn flip_bit(&mut self, input: &mut [u8]) {
        if let Some(at) = self.position(input) {
            input[at] ^= 1 << self.random.random_range(0..8u32);
        }
    }

    fn set_byte(&mut self, input: &mut [u8]) {
        if let Some(at) = self.position(input) {
            input[at] = self.random.random_range(0..=255u8);
        }
    }

    fn overwrite_with_edge(&mut self, input: &mut [u8]) {
        let Some(at) = self.position(input) else { return };
        let value = EDGES[self.random.random_range(0..EDGES.len())].to_le_bytes();
        let width = [1, 2, 4, 8][self.random.random_range(0..4usize)].min(input.len() - at);
        input[at..at + width].copy_from_slice(&value[..width]);
    }

    fn remove_piece(&mut self, input: &mut Vec<u8>) {
        let piece = self.piece(input);
        input.drain(piece);
    }

    fn repeat_piece(&mut self, input: &mut Vec<u8>) {
        let piece = input[self.piece(input)].to_vec();
        let at = self.random.random_range(0..=input.len());
        let times = self.random.random_range(1..=8usize);
        input.splice(at..at, piece.iter().copied().cycle().take(piece.len() * times));
    }

    fn move_piece(&mut self, input: &mut Vec<u8>) {
        let piece: Vec<u8> = input.drain(self.piece(input)).collect();
        let at = self.random.random_range(0..=input.len());
        input.splice(at..at, piece);
    }

    /// The beginning of this one and the end of another.
    fn splice(&mut self, input: &mut Vec<u8>) {
        let other = self.seed();
        input.truncate(self.random.random_range(0..=input.len()));
        input.extend_from_slice(&other[self.random.random_range(0..=other.len())..]);
    }

    fn insert_word(&mut self, input: &mut Vec<u8>) {
        let index = self
            .random
            .random_range(0..EDGE_TEXTS.len() + self.dictionary.len());
        let known = EDGE_TEXTS.get(index).map(|text| text.as_bytes());
        let word = known.unwrap_or_else(|| self.dictionary[index - EDGE_TEXTS.len()]);
        let at = self.random.random_range(0..=input.len());
        let end = if self.random.random() {
            at
        } else {
            (at + word.len()).min(input.len())
        };
        input.splice(at..end, word.iter().copied());
    }

    fn change_digit(&mut self, input: &mut [u8]) {
        let Some(from) = self.position(input) else { return };
        if let Some(digit) = input[from..].iter_mut().find(|byte| byte.is_ascii_digit()) {
            *digit = self.random.random_range(b'0'..=b'9');
        }
    }

    fn cut_or_extend(&mut self, input: &mut Vec<u8>) {
        if self.random.random() {
            input.truncate(self.random.random_range(0..=input.len()));
        } else {
            let length = self.random.random_range(1..=64usize);
            let byte = self.random.random_range(0..=255u8);
            input.extend(std::iter::repeat_n(byte, length));
        }
    }

    fn position(&mut self, input: &[u8]) -> Option<usize> {
        (!input.is_empty()).then(|| self.random.random_range(0..input.len()))
    }

    /// A stretch of the input, short more often than long.
    fn piece(&mut self, input: &[u8]) -> std::ops::Range<usize> {
        let from = self.random.random_range(0..=input.len());
        let longest = if self.random.random() { 16 } else { 1_024 };
        let length = self.random.random_range(0..=longest.min(input.len() - from));
        from..from + length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_another_gives_others() {
        let seeds = vec![b"one seed, 1234".to_vec(), b"<another/>".to_vec()];
        let inputs = |seed| {
            let mut mutator = Mutator::new(seed, &seeds, &[b"word"]);
            (0..200).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
    }

    #[test]
    fn even_an_empty_seed_is_changed_without_a_panic() {
        let seeds = vec![Vec::new()];
        let mut mutator = Mutator::new(1, &seeds, &[]);
        assert!((0..2_000).any(|_| !mutator.next_input().is_empty()));
    }
}
