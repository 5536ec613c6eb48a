//! Progress of long work, as callbacks: the binary draws the bars.

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading a file; counted in bytes.
    Reading,
    /// Booking payments; counted in payments.
    Booking,
    /// Writing a statement; counted in entries, the total unknown (0).
    Writing,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much is done.
    pub done: u64,
    /// Of how much; 0 when that is unknown.
    pub total: u64,
}
