//! Whether a committed block is final (pure). Owns: the rule. Must not: ask anybody.
//!
//! COMMIT alone makes nothing final: with empty or loosened synchronous names, another `synchronous_commit` or a
//! cancelled wait PostgreSQL answers success with no copy anywhere.

use crate::{Durability, PostgresError};

/// A position in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    const PAGE_BYTES: u64 = 8_192;
    const PAGE_HEADER_BYTES: u64 = 24;

    /// The end of what was written, where `insert` is the place of the next record. A record that ends with its page
    /// leaves that place behind the next page's header, which nobody flushes before something follows it.
    pub(crate) fn end_before(insert: u64) -> Self {
        let at_start = insert % Self::PAGE_BYTES == Self::PAGE_HEADER_BYTES;
        Self(insert - if at_start { Self::PAGE_HEADER_BYTES } else { 0 })
    }
}

/// What the primary says of itself and of those who stream from it, after a commit.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// Behind everything that was written when the commit was done.
    pub(crate) position: Lsn,
    pub(crate) synchronous_standby_names: String,
    pub(crate) synchronous_commit: String,
    pub(crate) standbys: Vec<Standby>,
}

/// One WAL sender.
#[derive(Clone, Debug)]
pub(crate) struct Standby {
    pub(crate) name: String,
    /// How far it says that its disk holds the WAL.
    pub(crate) flushed: Option<Lsn>,
    /// Whether the primary's commits count it (`sync` or `quorum`).
    pub(crate) is_synchronous: bool,
}

/// Whether a commit under these settings waits for whom it must.
pub(crate) fn check_settings(
    durability: &Durability,
    observation: &Observation,
) -> Result<(), PostgresError> {
    let refuse = |name, value: &str, wanted| {
        let value = value.to_owned();
        Err(PostgresError::Setting { name, value, wanted })
    };
    if observation.synchronous_commit != "on" {
        let wanted = "`on`, or a commit does not wait for any disk";
        return refuse("synchronous_commit", &observation.synchronous_commit, wanted);
    }
    let names = &observation.synchronous_standby_names;
    match durability {
        Durability::Standbys { .. } if names.trim().is_empty() => refuse(
            "synchronous_standby_names",
            names,
            "the names of the standbys, or commits wait for none",
        ),
        Durability::Standbys { .. } if names.contains('*') => refuse(
            "synchronous_standby_names",
            names,
            "names without `*`, or anything that streams may confirm",
        ),
        Durability::Standbys { .. } | Durability::Local => Ok(()),
    }
}

/// Whether enough of the standbys that the topology names have flushed beyond `position`.
pub(crate) fn is_flushed(durability: &Durability, position: Lsn, observation: &Observation) -> bool {
    let Durability::Standbys { names, flushed } = durability else {
        return true;
    };
    let confirmed = names.iter().filter(|name| {
        observation.standbys.iter().any(|standby| {
            standby.name == **name
                && standby.is_synchronous
                && standby.flushed.is_some_and(|flushed| flushed >= position)
        })
    });
    confirmed.count() >= flushed.get() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(names: &str, commit: &str, standbys: &[(&str, u64, bool)]) -> Observation {
        let standbys = standbys.iter().map(|&(name, flushed, is_synchronous)| Standby {
            name: name.into(),
            flushed: Some(Lsn(flushed)),
            is_synchronous,
        });
        Observation {
            position: Lsn(100),
            synchronous_standby_names: names.into(),
            synchronous_commit: commit.into(),
            standbys: standbys.collect(),
        }
    }

    #[test]
    fn names_that_are_empty_or_match_anything_and_a_loosened_commit_are_refused() {
        let two = Durability::any_of(["pg2", "pg3"]);
        let good = "ANY 1 (pg2,pg3)";
        assert!(check_settings(&two, &observation(good, "on", &[])).is_ok());
        for names in ["", " ", "*", "ANY 1 (*)", "FIRST 1 (pg2, \"*\")"] {
            assert!(
                check_settings(&two, &observation(names, "on", &[])).is_err(),
                "{names}"
            );
        }
        for commit in ["off", "local", "remote_write", "remote_apply"] {
            assert!(
                check_settings(&two, &observation(good, commit, &[])).is_err(),
                "{commit}"
            );
            let local = check_settings(&Durability::Local, &observation("", commit, &[]));
            assert!(local.is_err(), "{commit}");
        }
        assert!(check_settings(&Durability::Local, &observation("", "on", &[])).is_ok());
    }

    #[test]
    fn a_page_header_that_nothing_follows_is_not_waited_for() {
        for (insert, end) in [
            (8_192 * 7 + 24, 8_192 * 7),
            (8_192 * 7, 8_192 * 7),
            (8_192 * 7 + 32, 8_192 * 7 + 32),
            (8_192 * 7 - 24, 8_192 * 7 - 24),
        ] {
            assert_eq!(Lsn::end_before(insert), Lsn(end));
        }
    }

    #[test]
    fn only_a_synchronous_standby_of_the_topology_that_flushed_so_far_confirms() {
        let two = Durability::any_of(["pg2", "pg3"]);
        let flushed = |standbys: &[_]| is_flushed(&two, Lsn(100), &observation("x", "on", standbys));
        assert!(flushed(&[("pg2", 100, true)]));
        assert!(flushed(&[("pg2", 99, true), ("pg3", 101, true)]));
        assert!(!flushed(&[]));
        assert!(!flushed(&[("pg2", 99, true)]));
        assert!(
            !flushed(&[("pg_receivewal", 200, true)]),
            "a stranger's disk is no standby"
        );
        assert!(
            !flushed(&[("pg2", 200, false)]),
            "a standby that no election counts"
        );
    }

    #[test]
    fn two_flushes_are_of_two_standbys() {
        let both = Durability::Standbys {
            names: vec!["pg2".into(), "pg3".into()],
            flushed: 2.try_into().unwrap(),
        };
        let flushed = |standbys: &[_]| is_flushed(&both, Lsn(100), &observation("x", "on", standbys));
        assert!(!flushed(&[("pg2", 100, true), ("pg2", 100, true)]));
        assert!(flushed(&[("pg2", 100, true), ("pg3", 100, true)]));
    }
}
