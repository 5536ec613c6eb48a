//! The ledger node: sequencer, group commit, recovery, snapshots, reads.
//!
//! Owns: the order of commands and when an answer may leave. Must not: know of wire formats.

mod agreement;
mod background;
mod books;
mod bounds;
mod clock;
mod committer;
mod error;
mod follower;
mod handle;
mod inbox;
mod indexer;
mod metadata;
mod metrics;
mod node;
mod options;
mod pace;
mod priority;
mod reads;
mod recent;
mod recovery;
mod running;
mod sequencer;
mod sequencing;
mod shared;
mod snapshots;
mod spent;
mod trial;
mod verify;

pub use agreement::{AHEAD_MAX, ClockRange, Clocks, Ground, Verdict, behind_by, judge};
pub use bounds::Bounds;
pub use clock::{Clock, SystemClock};
pub use error::{NodeError, STEPPED_DOWN_EXIT_CODE};
pub use handle::*;
pub use node::{Feed, Node};
pub use options::NodeOptions;
pub use priority::Priority;
pub use recent::SealedFeed;
pub use recovery::{Layout, Source};
pub use running::LostTerm;
pub use trial::BooksCheck;
pub use verify::{VerifyReport, VerifyStage, verify};

/// The node's parts, for the simulator, which runs them in an order of its own on a disk and a clock of its own.
/// Everyone else uses [`Node`].
pub mod parts {
    pub use crate::background::{Background, Chore, Chores, DiskWatch};
    pub use crate::committer::announce;
    pub use crate::follower::{Follower, Step};
    pub use crate::inbox::{Promotion, Room};
    pub use crate::indexer::{IndexerLoop, ToIndexer};
    pub use crate::reads::{FoundAccount, Read, ReadAnswer, State};
    pub use crate::recovery::{
        OpenJournal, Reading, Recovered, apply_block, discard_damaged_index, recover, run_flushes,
    };
    pub use crate::sequencer::{Batch, Sequencer};
    pub use crate::sequencing::{SequencerLoop, Turn};
    pub use crate::shared::Shared;
}
