//! Canaries: known bugs that the simulator must find. Owns: their names. They live in the simulator's own adapters
//! and are switched on at run time; no product code knows of them.

/// A bug on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Canary {
    /// The disk says that data is durable and does nothing.
    LyingSync,
    /// The disk makes data durable only at the next sync of the file: acknowledged one block too early.
    LateSync,
    /// The disk does not make names durable.
    NoDirectorySync,
    /// Answers to writes leave before their block is appended.
    EarlyAnswer,
    /// Answers to reads leave before the block whose state they saw is appended.
    EarlyRead,
    /// A read is answered from what an earlier one was told.
    StaleRead,
    /// Replay leaves out the last block.
    ShortReplay,
    /// Replay changes a balance.
    AlteredReplay,
    /// The index gets another amount than the ledger.
    AlteredIndex,
    /// A request is applied twice.
    AppliedTwice,
}

impl Canary {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::LyingSync,
        Self::LateSync,
        Self::NoDirectorySync,
        Self::EarlyAnswer,
        Self::EarlyRead,
        Self::StaleRead,
        Self::ShortReplay,
        Self::AlteredReplay,
        Self::AlteredIndex,
        Self::AppliedTwice,
    ];
}
