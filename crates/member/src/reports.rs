//! The reports that this member has, its own and copies of the others'. Owns: their files. Must not: know what is in them
//! beyond whose they are and of which term.

use crate::MemberError;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

/// How many are kept.
const KEPT: usize = 100;

/// See the module.
pub(crate) struct Reports {
    /// For whoever changes them. A disk may hold that up, so nobody else waits for it.
    directory: Mutex<PathBuf>,
    name: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_epoch: BTreeMap<u64, String>,
    /// Rises with each change; so it begins above whatever an earlier process told.
    version: u64,
}

/// What must be in each.
#[derive(Deserialize)]
struct Label {
    epoch: u64,
    node: String,
}

impl Reports {
    /// Those of a data directory, for the member of this name. A file that is no report is left where it is.
    ///
    /// # Errors
    /// [`MemberError::Reports`].
    pub(crate) fn open(data: &Path, name: &str) -> Result<Self, MemberError> {
        let directory = data.join("reports");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| MemberError::Reports { path, source }
        };
        std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
        let mut by_epoch = BTreeMap::new();
        for entry in std::fs::read_dir(&directory).map_err(failed(&directory))? {
            let path = entry.map_err(failed(&directory))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            match label(&text) {
                Some(label) => by_epoch.insert(label.epoch, text),
                None => {
                    tracing::warn!(code = "MEM-0111", path = %path.display(), "this is no report of a change of the writer");
                    None
                }
            };
        }
        let kept = Kept {
            version: u64::from(!by_epoch.is_empty()) * (rand::random::<u64>() >> 2),
            by_epoch,
        };
        Ok(Self {
            directory: Mutex::new(directory),
            name: name.to_owned(),
            kept: Mutex::new(kept),
        })
    }

    /// All of them, the newest first.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().by_epoch.values().rev().cloned().collect()
    }

    /// Changes with them; 0 when there are none.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Keeps a report of this member's own, in place of an earlier one of the same term.
    pub(crate) fn keep(&self, epoch: u64, text: String) -> Result<(), MemberError> {
        self.put(&self.files(), epoch, text)
    }

    /// Takes over what another member has: what it made itself in place of what is here, the rest where there is none. False
    /// when it is to be tried again.
    pub(crate) fn merge(&self, from: &str, texts: &[String]) -> bool {
        let directory = self.files();
        for text in texts {
            let Some(Label { epoch, node }) = label(text) else {
                tracing::warn!(
                    code = "MEM-0111",
                    from,
                    "a member gave something that is no report"
                );
                continue;
            };
            let is_wanted = {
                let kept = self.lock();
                match kept.by_epoch.get(&epoch) {
                    None => kept.by_epoch.len() < KEPT || kept.by_epoch.keys().next() < Some(&epoch),
                    Some(has) => node == from && node != self.name && has != text,
                }
            };
            if is_wanted && let Err(error) = self.put(&directory, epoch, text.clone()) {
                tracing::warn!(code = "MEM-0112", %error, from, "a report cannot be kept");
                return false;
            }
        }
        true
    }

    fn put(&self, directory: &Path, epoch: u64, text: String) -> Result<(), MemberError> {
        let path = path_of(directory, epoch);
        let failed = |source| MemberError::Reports {
            path: path.clone(),
            source,
        };
        // Whole or not at all; one that a crash takes away is with the others, or made again with the next change.
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        std::fs::rename(&beside, &path).map_err(failed)?;
        let mut too_many = Vec::new();
        {
            let mut kept = self.lock();
            kept.by_epoch.insert(epoch, text);
            kept.version += 1;
            while kept.by_epoch.len() > KEPT {
                too_many.extend(kept.by_epoch.pop_first());
            }
        }
        for (oldest, _) in too_many {
            match std::fs::remove_file(path_of(directory, oldest)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn files(&self) -> MutexGuard<'_, PathBuf> {
        self.directory.lock().expect("no thread panics with the reports")
    }

    /// Never while a file is touched.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics with the reports")
    }
}

fn path_of(directory: &Path, epoch: u64) -> PathBuf {
    directory.join(format!("{epoch:020}.json"))
}

fn label(text: &str) -> Option<Label> {
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(epoch: u64, node: &str, text: &str) -> String {
        format!(r#"{{"epoch":{epoch},"node":"{node}","text":"{text}"}}"#)
    }

    #[test]
    fn the_last_hundred_are_kept_the_newest_first_and_are_there_after_a_new_start() {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::open(directory.path(), "a").unwrap();
        assert_eq!(reports.version(), 0);
        for epoch in 1..=130 {
            reports.keep(epoch, report(epoch, "a", "")).unwrap();
        }
        let kept = reports.all();
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0], report(130, "a", ""));
        assert_eq!(kept[99], report(31, "a", ""));
        std::fs::write(directory.path().join("reports/9.json"), "torn").unwrap();
        let again = Reports::open(directory.path(), "a").unwrap();
        assert_eq!(again.all(), kept);
        assert_ne!(again.version(), 0);
    }

    #[test]
    fn what_another_made_itself_replaces_a_copy_and_nothing_replaces_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::open(directory.path(), "a").unwrap();
        reports.keep(1, report(1, "a", "own")).unwrap();
        let version = reports.version();
        let from_b = [
            report(1, "a", "copy"),
            report(2, "b", "open"),
            report(3, "c", "copy"),
            "nothing".to_owned(),
        ];
        assert!(reports.merge("b", &from_b));
        assert_eq!(
            reports.all(),
            [
                report(3, "c", "copy"),
                report(2, "b", "open"),
                report(1, "a", "own")
            ]
        );
        assert_ne!(reports.version(), version);
        assert!(reports.merge("b", &[report(2, "b", "done"), report(3, "c", "older")]));
        assert!(reports.merge("c", &[report(2, "b", "older"), report(1, "a", "copy")]));
        assert_eq!(
            reports.all(),
            [
                report(3, "c", "copy"),
                report(2, "b", "done"),
                report(1, "a", "own")
            ]
        );
    }

    #[test]
    fn what_is_older_than_all_that_are_kept_is_not_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let reports = Reports::open(directory.path(), "a").unwrap();
        for epoch in 100..200 {
            reports.keep(epoch, report(epoch, "a", "")).unwrap();
        }
        assert!(reports.merge("b", &[report(99, "b", "")]));
        assert_eq!(reports.all().last(), Some(&report(100, "a", "")));
    }
}
