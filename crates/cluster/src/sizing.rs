//! PostgreSQL's settings out of a host's memory and disk (pure), and the measuring of both.
//!
//! The journal is written in order and read from memory of other processes, so the settings favour the write-ahead
//! log: large segments that are recycled, because making a segment inside a commit is what ruins the tail.

use crate::{ClusterError, Host};
use std::path::Path;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Set at initdb; settings below are whole numbers of it.
pub const WAL_SEGMENT_MIB: u64 = 64;

/// What a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// The size of the disk that holds its data, in bytes.
    pub disk_bytes: u64,
}

/// What follows for PostgreSQL, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostgresSizes {
    /// A quarter of the memory, 128 MiB to 8 GiB: more does not help a log.
    pub shared_buffers_mib: u64,
    /// What the kernel may be thought to cache: half of the memory.
    pub effective_cache_size_mib: u64,
    /// A sixteenth of the memory, 32 MiB to 1 GiB.
    pub maintenance_work_mem_mib: u64,
    /// 16 or 64 MiB: what is written between two flushes.
    pub wal_buffers_mib: u64,
    /// Log kept for recycling: a thirtieth of the disk, 512 MiB to 8 GiB.
    pub min_wal_size_mib: u64,
    /// Log between two checkpoints: a tenth of the disk, twice `min_wal_size` at least, at most 32 GiB.
    pub max_wal_size_mib: u64,
    /// Log kept in any case: a tenth of the disk, 256 MiB to 32 GiB, on all but the smallest disks as much as lies between two
    /// checkpoints. A former primary that is rewound replays from where the last checkpoint began that it shares with the
    /// new one: that much is left at itself, even when it recovers from a crash first.
    pub wal_keep_size_mib: u64,
    /// Log kept for a standby that is away: a third of the disk, at most 256 GiB. Beyond it the standby is cloned anew
    /// rather than the primary's disk filled.
    pub max_slot_wal_keep_size_mib: u64,
}

impl Machine {
    /// This machine, with the disk that holds `path` or the nearest directory above it that exists.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn measure(path: &Path) -> Result<Self, ClusterError> {
        let file = Path::new("/proc/meminfo");
        let text = std::fs::read_to_string(file).map_err(|e| ClusterError::io("read", file, e))?;
        let total_kib = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|number| number.trim().parse::<u64>().ok());
        let Some(total_kib) = total_kib else {
            let problem = "has no MemTotal in kB".to_owned();
            return Err(ClusterError::Damaged {
                path: file.to_owned(),
                problem,
            });
        };
        let existing = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        Ok(Self {
            memory_bytes: total_kib * 1024,
            disk_bytes: disk(existing)?.total_bytes,
        })
    }

    /// What a host says of itself, and what was measured for the rest.
    pub fn of(host: &Host, measured: Self) -> Self {
        Self {
            memory_bytes: host.memory_mb.map_or(measured.memory_bytes, |mb| mb * MIB),
            disk_bytes: host.disk_gb.map_or(measured.disk_bytes, |gb| gb * GIB),
        }
    }

    /// The settings that follow.
    pub fn postgres(self) -> PostgresSizes {
        let memory = self.memory_bytes / MIB;
        let disk = self.disk_bytes / MIB;
        let segments = |mib: u64| mib / WAL_SEGMENT_MIB * WAL_SEGMENT_MIB;
        let min_wal = segments((disk / 30).clamp(512, 8 * 1024));
        PostgresSizes {
            shared_buffers_mib: (memory / 4).clamp(128, 8 * 1024),
            effective_cache_size_mib: (memory / 2).max(256),
            maintenance_work_mem_mib: (memory / 16).clamp(32, 1024),
            wal_buffers_mib: if memory < 2048 { 16 } else { WAL_SEGMENT_MIB },
            min_wal_size_mib: min_wal,
            max_wal_size_mib: segments((disk / 10).clamp(2 * min_wal, 32 * 1024)),
            wal_keep_size_mib: segments((disk / 10).clamp(4 * WAL_SEGMENT_MIB, 32 * 1024)),
            max_slot_wal_keep_size_mib: segments((disk / 3).min(256 * 1024)),
        }
    }
}

/// Room on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its size.
    pub total_bytes: u64,
    /// What is left for users other than root.
    pub free_bytes: u64,
}

/// The disk that holds a path.
pub fn disk(path: &Path) -> Result<Disk, ClusterError> {
    let stat = rustix::fs::statvfs(path).map_err(|e| ClusterError::io("measure", path, e.into()))?;
    Ok(Disk {
        total_bytes: stat.f_blocks * stat.f_frsize,
        free_bytes: stat.f_bavail * stat.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(memory_gib: u64, disk_gib: u64) -> PostgresSizes {
        Machine {
            memory_bytes: memory_gib * GIB,
            disk_bytes: disk_gib * GIB,
        }
        .postgres()
    }

    #[test]
    fn a_small_host_gets_small_settings_that_still_recycle_segments() {
        let small = sizes(1, 4);
        assert_eq!(small.shared_buffers_mib, 256);
        assert_eq!(small.min_wal_size_mib, 512);
        assert_eq!(small.max_wal_size_mib, 1024);
        assert_eq!(small.wal_buffers_mib, 16);
        assert_eq!(small.wal_keep_size_mib, 384);
    }

    #[test]
    fn a_large_host_stops_at_the_bounds() {
        let large = sizes(512, 4096);
        assert_eq!(large.shared_buffers_mib, 8192);
        assert_eq!(large.min_wal_size_mib, 8192);
        assert_eq!(large.max_wal_size_mib, 32 * 1024);
        assert_eq!(large.wal_keep_size_mib, 32 * 1024);
        assert_eq!(large.max_slot_wal_keep_size_mib, 256 * 1024);
    }

    #[test]
    fn the_log_always_fits_the_disk_with_room_for_data() {
        for disk_gib in 4..2000 {
            let sizes = sizes(8, disk_gib);
            let most = sizes.max_wal_size_mib.max(sizes.max_slot_wal_keep_size_mib);
            assert!(
                most + sizes.min_wal_size_mib <= disk_gib * 1024 * 2 / 3,
                "{disk_gib} GiB: {sizes:?}"
            );
            assert_eq!(sizes.min_wal_size_mib % WAL_SEGMENT_MIB, 0);
        }
    }
}
