//! What a run met (pure). Owns: the counts, and how they are told.

use std::fmt;
use std::ops::AddAssign;

/// Counts of one schedule or of many. A fault that never happens proves nothing: they are printed with every run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Schedules.
    pub seeds: u64,
    /// Steps taken.
    pub steps: u64,
    /// Blocks made durable.
    pub blocks: u64,
    /// Events that clients heard of.
    pub acknowledged_events: u64,
    /// Reads answered by the sequencer.
    pub reads: u64,
    /// Questions answered by history.
    pub queries: u64,
    /// Times the machine lost its power.
    pub power_losses: u64,
    /// Times the process was killed.
    pub kills: u64,
    /// Of those, in the midst of a disk operation.
    pub crashes_in_operation: u64,
    /// Of those, before the node had come back.
    pub crashes_in_recovery: u64,
    /// Times the node stopped itself after a fault of the disk.
    pub stops: u64,
    /// Times it was stopped in good order.
    pub graceful: u64,
    /// Times it came back.
    pub restarts: u64,
    /// Times it refused to come back, for a fault of the disk.
    pub refused_starts: u64,
    /// Blocks that were under way in a crash and had landed.
    pub landed: u64,
    /// Operations of the disk that failed.
    pub faults: u64,
    /// Files torn by a power loss.
    pub torn: u64,
    /// Writes that found no room.
    pub full: u64,
    /// Reads that saw a flipped bit.
    pub flipped_reads: u64,
    /// Bits flipped on the disk.
    pub flips: u64,
    /// Requests refused at the door.
    pub refused: u64,
    /// Requests whose deadline had passed.
    pub expired: u64,
}

impl AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.blocks += other.blocks;
        self.acknowledged_events += other.acknowledged_events;
        self.reads += other.reads;
        self.queries += other.queries;
        self.power_losses += other.power_losses;
        self.kills += other.kills;
        self.crashes_in_operation += other.crashes_in_operation;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.stops += other.stops;
        self.graceful += other.graceful;
        self.restarts += other.restarts;
        self.refused_starts += other.refused_starts;
        self.landed += other.landed;
        self.faults += other.faults;
        self.torn += other.torn;
        self.full += other.full;
        self.flipped_reads += other.flipped_reads;
        self.flips += other.flips;
        self.refused += other.refused;
        self.expired += other.expired;
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds, {} steps, {} blocks, {} events acknowledged, {} reads, {} queries of history",
            self.seeds, self.steps, self.blocks, self.acknowledged_events, self.reads, self.queries
        )?;
        writeln!(
            f,
            "{} crashes ({} power losses, {} kills; {} inside a disk operation, {} during recovery), {} blocks under way landed",
            self.power_losses + self.kills,
            self.power_losses,
            self.kills,
            self.crashes_in_operation,
            self.crashes_in_recovery,
            self.landed
        )?;
        writeln!(
            f,
            "{} restarts, {} refused to start, {} stopped themselves, {} stopped in order",
            self.restarts, self.refused_starts, self.stops, self.graceful
        )?;
        write!(
            f,
            "{} failed operations, {} torn files, {} flipped bits, {} flipped reads, {} writes without room, {} requests refused, {} past their deadline",
            self.faults, self.torn, self.flips, self.flipped_reads, self.full, self.refused, self.expired
        )
    }
}
