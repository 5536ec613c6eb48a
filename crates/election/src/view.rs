//! What stands in etcd below the election's keys, as one linearizable read saw it. Must not: reach etcd.

use crate::{ElectionError, Member, MemberName, Present, Role, TermRevision};
use etcd::LeaseId;
use etcd::proto::{KeyValue, RangeResponse};
use serde::{Deserialize, Serialize};

/// How far etcd's history had come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(pub(crate) i64);

/// Where the election's keys are. They have a room of their own below the prefix, so that reading all of them does
/// not read what others keep there.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) all: String,
    pub(crate) writer: String,
    pub(crate) handover: String,
    pub(crate) farewell: String,
    pub(crate) members: String,
    pub(crate) silences: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            all: format!("{prefix}election/"),
            writer: format!("{prefix}election/writer"),
            handover: format!("{prefix}election/handover"),
            farewell: format!("{prefix}election/farewell"),
            members: format!("{prefix}election/members/"),
            silences: format!("{prefix}election/silences/"),
        }
    }

    pub(crate) fn member(&self, name: &MemberName) -> String {
        format!("{}{name}", self.members)
    }

    pub(crate) fn silence(&self, name: &MemberName) -> String {
        format!("{}{name}", self.silences)
    }
}

/// What a member states, on its own lease: it hears nothing of the writer of that term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Silence {
    pub(crate) term: i64,
}

/// A key that hangs on a lease and tells of a member; none when its value is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held<T> {
    pub(crate) key: String,
    pub(crate) created: TermRevision,
    pub(crate) lease: LeaseId,
    pub(crate) value: Result<T, ElectionError>,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) revision: Revision,
    pub(crate) writer: Option<Held<Member>>,
    pub(crate) handover: Option<Held<MemberName>>,
    pub(crate) members: Vec<Held<Member>>,
    pub(crate) silences: Vec<Held<Silence>>,
}

impl View {
    pub(crate) fn read(keys: &Keys, answer: RangeResponse) -> Self {
        let revision = answer.header.map_or(0, |it| it.revision);
        let mut view = Self {
            revision: Revision(revision),
            ..Self::default()
        };
        for row in answer.kvs {
            if row.key == keys.writer.as_bytes() {
                view.writer = Some(held(row));
            } else if row.key == keys.handover.as_bytes() {
                view.handover = Some(held(row));
            } else if row.key.starts_with(keys.members.as_bytes()) {
                view.members.push(held(row));
            } else if row.key.starts_with(keys.silences.as_bytes()) {
                view.silences.push(held(row));
            }
        }
        view
    }

    /// The key of the member of this name.
    pub(crate) fn member(&self, keys: &Keys, name: &MemberName) -> Option<&Held<Member>> {
        let key = keys.member(name);
        self.members.iter().find(|it| it.key == key)
    }

    /// Of which term the member of this name states that its writer is silent.
    pub(crate) fn silence(&self, keys: &Keys, name: &MemberName) -> Option<TermRevision> {
        let key = keys.silence(name);
        let held = self.silences.iter().find(|it| it.key == key)?;
        // What is not understood is of no term, and is replaced or taken back.
        Some(TermRevision(
            held.value.as_ref().map_or(0, |silence| silence.term),
        ))
    }

    /// The statements that the writer of this term is silent.
    pub(crate) fn stating(&self, term: TermRevision) -> impl Iterator<Item = &Held<Silence>> {
        let says = move |it: &&Held<Silence>| it.value.as_ref().is_ok_and(|silence| silence.term == term.0);
        self.silences.iter().filter(says)
    }

    /// Whether more than half of the members, and never one alone, state that the writer of this term is silent. Statements hang on
    /// their member's lease, so they are of members that are there.
    pub(crate) fn agrees_that_silent(&self, term: TermRevision) -> bool {
        let many = self.stating(term).count();
        many >= 2 && 2 * many > self.members.len()
    }

    /// Whether both tell the same, at whatever revision.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        (&self.writer, &self.handover, &self.members, &self.silences)
            == (&other.writer, &other.handover, &other.members, &other.silences)
    }

    /// Members and their roles, by name.
    pub(crate) fn present(&self) -> Result<Vec<Present>, ElectionError> {
        let writer = self.writer.as_ref().map(|it| it.lease);
        let mut all = Vec::with_capacity(self.members.len());
        for held in &self.members {
            let member = held.value.clone()?;
            let role = if writer == Some(held.lease) {
                Role::Writer
            } else if member.may_write {
                Role::Candidate
            } else {
                Role::Observer
            };
            all.push(Present { member, role });
        }
        Ok(all)
    }
}

fn held<T: serde::de::DeserializeOwned>(row: KeyValue) -> Held<T> {
    let key = String::from_utf8_lossy(&row.key).into_owned();
    let value = serde_json::from_slice(&row.value).map_err(|error| ElectionError::Value {
        key: key.clone(),
        reason: error.to_string(),
    });
    Held {
        key,
        created: TermRevision(row.create_revision),
        lease: LeaseId(row.lease),
        value,
    }
}
