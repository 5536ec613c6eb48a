//! `pg_rewind` that leaves a server the log that it needs and nobody else has any more.
//!
//! A former primary that is rewound replays from where the last checkpoint began that it shares with the new one. `pg_rewind`
//! (15.18) removes every segment of the log that the new primary has not, but for those since that checkpoint was
//! *recorded*; under load a checkpoint takes minutes and many segments. Where the new primary has recycled those, the
//! server would wait for them for ever. So segments are held open meanwhile, and those that replay reads are written back.
//!
//! Owns: which segments those are. Must not: keep a segment that is not wholly of a history that both share.

use crate::ClusterError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// What `pg_rewind` leaves for the server's next start.
const LABEL: &str = "backup_label";

/// Runs `pg_rewind` with its own arguments and gives back its end. `tell` hears which segments were kept.
///
/// # Errors
/// [`ClusterError`]; the server may then lack a part of its log.
pub fn rewind(
    pg_rewind: &Path,
    arguments: &[OsString],
    tell: &mut dyn FnMut(&str),
) -> Result<ExitStatus, ClusterError> {
    let data = target(arguments);
    let held = match &data {
        Some(data) => hold(&data.join("pg_wal"))?,
        None => Vec::new(),
    };
    let status = Command::new(pg_rewind)
        .args(arguments)
        .status()
        .map_err(|error| ClusterError::io("run", pg_rewind, error))?;
    // Where it found nothing to rewind it leaves no label, and took nothing away.
    let rewound = data.filter(|data| data.join(LABEL).exists());
    if let Some(data) = rewound.filter(|_| status.success() && !held.is_empty()) {
        give_back(&data, held, tell)?;
    }
    Ok(status)
}

/// The data directory among the arguments of `pg_rewind`; none where it only tells of itself.
fn target(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().filter_map(|argument| argument.to_str());
    while let Some(argument) = arguments.next() {
        if argument == "-D" || argument == "--target-pgdata" {
            return arguments.next().map(PathBuf::from);
        }
        let attached = argument.strip_prefix("--target-pgdata=");
        if let Some(directory) = attached.or_else(|| argument.strip_prefix("-D")) {
            return Some(PathBuf::from(directory));
        }
    }
    None
}

/// A segment of the log, by what its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    timeline: u32,
    /// Two numbers of eight hexadecimal digits, as in its name.
    file: (u32, u32),
}

impl Segment {
    fn parse(name: &str) -> Option<Self> {
        let is_one = name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let part = |at: usize| u32::from_str_radix(name.get(at..at + 8)?, 16).ok();
        is_one.then_some(())?;
        Some(Self {
            timeline: part(0)?,
            file: (part(8)?, part(16)?),
        })
    }

    fn name(self) -> String {
        format!("{:08X}{:08X}{:08X}", self.timeline, self.file.0, self.file.1)
    }

    /// The position of its first byte.
    fn start(self, bytes: u64) -> u64 {
        (u64::from(self.file.0) << 32) + u64::from(self.file.1) * bytes
    }
}

struct Held {
    segment: Segment,
    file: File,
    bytes: u64,
}

/// Opens every segment: what is open outlives its name.
fn hold(log: &Path) -> Result<Vec<Held>, ClusterError> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is refused, opening too many fails below, by name.
    let _ = setrlimit(Resource::Nofile, all);
    let failed = |error| ClusterError::io("read", log, error);
    let mut held = Vec::new();
    for entry in fs::read_dir(log).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Some(segment) = entry.file_name().to_str().and_then(Segment::parse) else {
            continue;
        };
        let path = entry.path();
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| ClusterError::io("open", &path, error))?;
        held.push(Held { segment, file, bytes });
    }
    Ok(held)
}

fn give_back(data: &Path, held: Vec<Held>, tell: &mut dyn FnMut(&str)) -> Result<(), ClusterError> {
    let log = data.join("pg_wal");
    let from = begin(data)?;
    let history = history(&log)?;
    for Held { segment, file, bytes } in held {
        let path = log.join(segment.name());
        if !is_needed(segment, bytes, from, &history) || path.exists() {
            continue;
        }
        write(file, &log, &path).map_err(|error| ClusterError::io("keep", &path, error))?;
        tell(&format!("kept {}", segment.name()));
    }
    let synced = File::open(&log).and_then(|directory| directory.sync_all());
    synced.map_err(|error| ClusterError::io("sync", &log, error))
}

/// Whether replay from `from` on reads it, and it was written whole before the new history began: the segment in which
/// histories part holds what only the old one wrote, and the new one has its own.
fn is_needed(segment: Segment, bytes: u64, from: u64, history: &[Ancestor]) -> bool {
    let (start, end) = (segment.start(bytes), segment.start(bytes) + bytes);
    let ancestor = history.iter().find(|it| it.timeline == segment.timeline);
    ancestor.is_some_and(|it| end > from && end <= it.until && start >= it.since.saturating_sub(bytes))
}

/// Under another name first, so that no half of a segment is ever there under its own.
fn write(mut file: File, log: &Path, path: &Path) -> io::Result<()> {
    let unfinished = log.join("xlogtemp.rewind");
    let mut copy = File::create(&unfinished)?;
    copy.set_permissions(file.metadata()?.permissions())?;
    io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    fs::rename(&unfinished, path)
}

/// Where replay begins: `START WAL LOCATION` of the label that `pg_rewind` leaves.
fn begin(data: &Path) -> Result<u64, ClusterError> {
    let path = data.join(LABEL);
    let text = read(&path)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("START WAL LOCATION: "));
    let position = line.and_then(|rest| position(rest.split_whitespace().next()?));
    position.ok_or_else(|| damaged(&path, "names no START WAL LOCATION"))
}

/// A timeline that ended, and from where to where it is part of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ancestor {
    timeline: u32,
    since: u64,
    until: u64,
}

/// The newest history: only those of the new primary are left.
fn history(log: &Path) -> Result<Vec<Ancestor>, ClusterError> {
    let failed = |error| ClusterError::io("read", log, error);
    let mut newest: Option<PathBuf> = None;
    for entry in fs::read_dir(log).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|it| it == "history") && newest.as_ref().is_none_or(|it| *it < path) {
            newest = Some(path);
        }
    }
    // Without one the new primary is on the first timeline, and nothing was before it.
    let Some(path) = newest else {
        return Ok(Vec::new());
    };
    ancestors(&read(&path)?).ok_or_else(|| damaged(&path, "has a line that is not a timeline and a position"))
}

fn ancestors(text: &str) -> Option<Vec<Ancestor>> {
    let mut found: Vec<Ancestor> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split_whitespace();
        found.push(Ancestor {
            timeline: fields.next()?.parse().ok()?,
            since: found.last().map_or(0, |before| before.until),
            until: position(fields.next()?)?,
        });
    }
    Some(found)
}

/// A position as PostgreSQL writes it: `16/B374D848`.
fn position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let number = |part: &str| u32::from_str_radix(part, 16).ok();
    Some(u64::from(number(high)?) << 32 | u64::from(number(low)?))
}

fn read(path: &Path) -> Result<String, ClusterError> {
    fs::read_to_string(path).map_err(|error| ClusterError::io("read", path, error))
}

fn damaged(path: &Path, problem: &str) -> ClusterError {
    ClusterError::Damaged {
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ancestor, Segment, ancestors, is_needed, position, target};
    use std::path::PathBuf;

    const BYTES: u64 = 64 << 20;

    fn segment(name: &str) -> Segment {
        Segment::parse(name).expect("it is a segment's name")
    }

    #[test]
    fn the_data_directory_is_found_however_it_is_given() {
        let given = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
            target(&arguments)
        };
        let expected = Some(PathBuf::from("/d"));
        assert_eq!(given(&["-D", "/d", "--source-server", "host=-Dx"]), expected);
        assert_eq!(given(&["--source-server", "x", "-D/d"]), expected);
        assert_eq!(given(&["--target-pgdata=/d"]), expected);
        assert_eq!(given(&["--target-pgdata", "/d"]), expected);
        assert_eq!(given(&["--help"]), None);
    }

    #[test]
    fn a_segment_is_known_by_its_name_and_nothing_else_is_one() {
        let one = segment("00000005000000020000000A");
        assert_eq!(one.name(), "00000005000000020000000A");
        assert_eq!(one.start(BYTES), (2 << 32) + 10 * BYTES);
        for other in [
            "00000005.history",
            "00000005000000020000000A.partial",
            "xlogtemp.12",
            "+0000005000000020000000A",
        ] {
            assert_eq!(Segment::parse(other), None, "{other}");
        }
    }

    #[test]
    fn kept_is_what_replay_reads_and_both_histories_share() {
        let history =
            ancestors("1\t0/8000000\tno recovery target\n\n2\t0/15000000\tsame\n").expect("it is one");
        let of = |timeline, since, until| Ancestor {
            timeline,
            since,
            until,
        };
        assert_eq!(history, [of(1, 0, 0x0800_0000), of(2, 0x0800_0000, 0x1500_0000)]);
        let from = position("0/8000028").expect("it is one");
        let kept = |name| is_needed(segment(name), BYTES, from, &history);
        assert!(kept("000000020000000000000002"), "in which replay begins");
        assert!(
            kept("000000020000000000000004"),
            "the last whole one before histories part"
        );
        assert!(!kept("000000020000000000000005"), "in which histories part");
        assert!(!kept("000000020000000000000006"), "of the old history alone");
        assert!(!kept("000000010000000000000001"), "before replay begins");
        assert!(
            !kept("000000010000000000000003"),
            "of a timeline that had ended by then"
        );
        assert!(
            !kept("000000030000000000000003"),
            "of a timeline that nobody else knows"
        );
    }

    #[test]
    fn a_history_that_cannot_be_read_is_refused() {
        assert_eq!(ancestors("1\tsomewhere\n"), None);
        assert_eq!(ancestors("one\t0/1\n"), None);
    }
}
