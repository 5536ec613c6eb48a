//! Status reports on disk. Owns: that a report stands there whole or not at all, and that none is ever overwritten
//! by one that says something else. Must not: know how payments are booked.

use anyhow::{Context, Result};
use payments::{ImportReport, StatusReportHeader, write_status_report};
use std::fs::{File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How the names of reports end.
const ENDING: &str = ".pain002.xml";

/// Writes the report of a file with that name and says where it stands. When an earlier report has the name and says
/// otherwise, the new one takes the next number: its reasons may be told nowhere else.
pub fn keep(
    report: &ImportReport,
    header: &StatusReportHeader,
    directory: &Path,
    name: &str,
) -> Result<PathBuf> {
    let in_directory = || format!("cannot write below {}", directory.display());
    std::fs::create_dir_all(directory).with_context(in_directory)?;
    let file = tempfile::Builder::new()
        // As any file that a program makes: the umask decides.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .with_context(in_directory)?;
    let output = write_status_report(report, header, BufWriter::new(file))?;
    let mut file = output
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .with_context(in_directory)?;
    file.as_file().sync_all().with_context(in_directory)?;
    let mut number = 1;
    loop {
        let path = directory.join(numbered(name, number));
        let cannot_write = || format!("cannot write {}", path.display());
        match file.persist_noclobber(&path) {
            Ok(_) => return Ok(path),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => file = refused.file,
            Err(refused) => return Err(refused.error).with_context(cannot_write),
        }
        if says_the_same(file.path(), &path).with_context(cannot_write)? {
            return Ok(path);
        }
        number += 1;
    }
}

fn numbered(name: &str, number: u32) -> String {
    match number {
        1 => format!("{name}{ENDING}"),
        _ => format!("{name}.{number}{ENDING}"),
    }
}

/// Whether two reports differ in nothing but their own identification and time, each on a line of its own.
fn says_the_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (lines(one)?, lines(other)?);
    loop {
        match (one.next().transpose()?, other.next().transpose()?) {
            (None, None) => return Ok(true),
            (one, other) if one == other => {}
            _ => return Ok(false),
        }
    }
}

fn lines(path: &Path) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let own = |line: &[u8]| {
        let line = line.trim_ascii_start();
        line.starts_with(b"<MsgId>") || line.starts_with(b"<CreDtTm>")
    };
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    Ok(lines.filter(move |line| !line.as_ref().is_ok_and(|line| own(line))))
}

/// Whether a file is a status report that an import wrote: a pattern such as `*.xml` takes those in too.
pub fn is_report(name: &str, bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(512)];
    name.ends_with(ENDING)
        && String::from_utf8_lossy(head).contains("urn:iso:std:iso:20022:tech:xsd:pain.002.001.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::TimestampNs;
    use payments::{Declared, Party, Source};

    fn report(message: &str) -> ImportReport {
        ImportReport {
            source: Source::Csv,
            message_id: message.to_owned(),
            created: None,
            initiator: Party::default(),
            declared: Declared::default(),
            issues: Vec::new(),
            batches: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn header(number: u64) -> StatusReportHeader {
        StatusReportHeader {
            message_id: format!("S{number}"),
            created: TimestampNs(number * 1_000_000_000),
            agent_bic: None,
        }
    }

    #[test]
    fn a_report_is_never_overwritten_by_one_that_says_otherwise() {
        let directory = tempfile::tempdir().expect("a directory");
        let keep = |message: &str, number| {
            let path = keep(&report(message), &header(number), directory.path(), "a.xml").expect("written");
            path.file_name()
                .expect("a name")
                .to_str()
                .expect("UTF-8")
                .to_owned()
        };
        assert_eq!(keep("M1", 1), "a.xml.pain002.xml");
        assert_eq!(keep("M2", 2), "a.xml.2.pain002.xml");
        assert_eq!(keep("M3", 3), "a.xml.3.pain002.xml");
        assert_eq!(keep("M2", 4), "a.xml.2.pain002.xml", "it says what is said there");
        let first = std::fs::read_to_string(directory.path().join("a.xml.pain002.xml")).expect("there");
        assert!(first.contains("<OrgnlMsgId>M1<") && first.contains("<MsgId>S1<"));
        let count = std::fs::read_dir(directory.path()).expect("there").count();
        assert_eq!(count, 3, "nothing temporary is left");
    }

    #[test]
    fn reports_are_known_by_name_and_content() {
        let bytes = write_status_report(&report("M1"), &header(1), Vec::new()).expect("written");
        assert!(is_report("a.xml.pain002.xml", &bytes));
        assert!(!is_report("a.xml", &bytes));
        let initiation = b"<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\">";
        assert!(!is_report("a.pain002.xml", initiation));
    }
}
