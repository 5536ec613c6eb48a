//! Who goes first on a busy processor. Owns: the scheduling of the process's threads, and the product's only `unsafe`.
//!
//! With more busy threads than cores, a thread that wakes up waits for the slice of the one that runs: milliseconds,
//! on the way of a request. So the threads on that way ask for short slices (Linux 6.12 and later let a short slice
//! go first; earlier kernels ignore it) and, where the process may, for the highest weight, so that work of the system
//! does not displace them in the middle of a request (P99 of `open-100k` fell by a quarter to a third). Indexing stands
//! back, and background work stands back as far as it can. Not as `SCHED_IDLE`: a background thread that never runs may
//! hold a lock of the file system that a commit waits for (P99 rose from 1.6 to 5 ms and more). Not `SCHED_FIFO` for the
//! others either, for which nothing makes room on another core (P99 rose to 7 ms).

use std::io;

/// How a thread stands to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A request waits for it: short slices, and with `CAP_SYS_NICE` (or `RLIMIT_NICE`) nice -20.
    Critical,
    /// Queries wait for it, answers to writes do not.
    Indexing,
    /// Nothing waits for it.
    Background,
}

/// The shortest slice that the kernel grants.
const SHORT_SLICE_NS: u64 = 100_000;

impl Priority {
    /// Gives the calling thread this priority, as far as the process may. A kernel that refuses leaves the thread as it
    /// was: slower, not wrong.
    pub fn apply(self) {
        let wished = match self {
            Self::Critical => schedule(-20, SHORT_SLICE_NS).or_else(|_| schedule(0, SHORT_SLICE_NS)),
            Self::Indexing => schedule(5, SHORT_SLICE_NS),
            Self::Background => schedule(19, 0),
        };
        if let Err(error) = wished {
            tracing::warn!(%error, priority = ?self, "a thread keeps its normal priority");
        }
    }
}

/// `struct sched_attr` of `sched_setattr(2)`, in its first version of 48 bytes.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

#[allow(unsafe_code, reason = "no library offers sched_setattr(2) safely")]
fn schedule(nice: i32, slice_ns: u64) -> io::Result<()> {
    let attributes = SchedulingAttributes {
        size: size_of::<SchedulingAttributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime: slice_ns,
        deadline: 0,
        period: 0,
    };
    // SAFETY: sched_setattr(pid = 0: the calling thread, attr, flags = 0) reads `attr.size` bytes at `attr`, here all of a
    // live value whose layout is that of the kernel's struct (repr(C), checked by the test below), and writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<SchedulingAttributes>(), 48);
        assert_eq!(std::mem::offset_of!(SchedulingAttributes, nice), 16);
        assert_eq!(std::mem::offset_of!(SchedulingAttributes, runtime), 24);
    }

    #[test]
    fn the_kernel_takes_every_priority() {
        let policy_of_this_thread = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let after_name = stat.rsplit_once(')').unwrap().1.to_owned();
            let fields: Vec<&str> = after_name.split_whitespace().collect();
            (fields[16].to_owned(), fields[38].to_owned())
        };
        let run = |nice, slice| {
            std::thread::spawn(move || schedule(nice, slice).map(|()| policy_of_this_thread()))
                .join()
                .unwrap()
                .unwrap()
        };
        assert_eq!(run(0, SHORT_SLICE_NS).1, "0");
        assert_eq!(run(5, SHORT_SLICE_NS).0, "5");
        assert_eq!(run(19, 0).0, "19");
    }
}
