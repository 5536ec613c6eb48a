//! The character of a schedule, drawn from its seed. Owns: which faults it has, how often, and how small everything is.

use ledger::TimestampNs;
use ledger_model::Shape;
use node::NodeOptions;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use storage::faulty::FaultRates;

/// Where the simulated node lives.
pub const DIRECTORY: &str = "/data";

/// See the module.
pub struct Profile {
    /// How the node works.
    pub node: NodeOptions,
    /// How its index works.
    pub history: history::Options,
    /// How the clients' histories look.
    pub shape: Shape,
    /// How many clients there are.
    pub clients: usize,
    /// Steps between crashes, on average; 0: none.
    pub crash_every: u32,
    /// Steps between planned faults of single operations, on average; 0: none.
    pub fault_every: u32,
    /// Faults by rate.
    pub rates: FaultRates,
    /// One restart in so many flips a bit first; 0: none.
    pub flip_one_in: u32,
    /// Steps between a disk that fills or empties, on average; 0: none.
    pub fill_every: u32,
    /// Rows that the ledger remembers at least before it asks the archive.
    pub generation_rows: u32,
}

impl Profile {
    /// Draws one.
    pub fn draw(random: &mut StdRng) -> Self {
        let mut pick = |from: &[u64]| from[(random.next_u64() % from.len() as u64) as usize];
        let node = NodeOptions {
            queue_requests_max: pick(&[2, 8, 64]) as usize,
            queue_events_max: pick(&[8, 64, 4_096]) as usize,
            block_events_max: pick(&[4, 32, 1_024]) as usize,
            block_bytes_max: pick(&[2_048, 16_384, 1 << 20]) as usize,
            snapshot_rows: pick(&[8, 32, 128, 100_000]),
            index_lag_rows_max: pick(&[16, 64, 100_000]),
            disk_reserve_bytes: pick(&[0, 0, 48 << 10]),
            segment_bytes: pick(&[8 << 10, 32 << 10, 64 << 10, 256 << 10]),
            index_flush_rows: pick(&[8, 32, 64, 512]) as u32,
            ..NodeOptions::new(DIRECTORY)
        };
        let history = history::Options {
            flush_rows: node.index_flush_rows,
            flush_metadata_bytes: pick(&[512, 1 << 20]),
            merge_fan_in: pick(&[2, 3, 8]) as u32,
            store_file_bytes: pick(&[16 << 10, 1 << 20]),
            entropy: crate::timing::entropy,
        };
        let shape = Shape {
            accounts: pick(&[6, 12, 40]).into(),
            ids_back: pick(&[20, 400]).into(),
            events_max: pick(&[1, 6, 12, 30]) as usize,
            start: TimestampNs(1_000_000_000_000),
        };
        // One schedule in some has none of a kind, so that what is seen there has one cause less.
        let rates = FaultRates {
            read_ppm: pick(&[0, 0, 0, 500]) as u32,
            write_ppm: pick(&[0, 0, 0, 1_000]) as u32,
            sync_ppm: pick(&[0, 0, 0, 1_000]) as u32,
            flip_ppm: pick(&[0, 0, 0, 500]) as u32,
        };
        let profile = Self {
            node,
            history,
            shape,
            clients: pick(&[1, 3, 8]) as usize,
            crash_every: pick(&[0, 40, 80, 80, 150]) as u32,
            fault_every: pick(&[0, 0, 60, 150]) as u32,
            rates,
            flip_one_in: pick(&[0, 0, 2]) as u32,
            fill_every: pick(&[0, 0, 30, 60]) as u32,
            generation_rows: pick(&[1, 16, 4_096]) as u32,
        };
        if random.random_range(0..4) == 0 {
            // A schedule in which only the machine fails.
            return Self {
                fault_every: 0,
                rates: FaultRates::default(),
                flip_one_in: 0,
                fill_every: 0,
                ..profile
            };
        }
        profile
    }

    /// Whether the disk fails by itself.
    pub fn has_rates(&self) -> bool {
        self.rates != FaultRates::default()
    }
}
