//! Who takes part: names, addresses and roles, and how they are written in etcd. Must not: reach etcd.

use crate::ElectionError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A member's name: lower-case letters, digits and `-`, 1 to 63 of them; unique in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(String);

impl MemberName {
    /// Checks it.
    ///
    /// # Errors
    /// [`ElectionError::Option`] when it has other characters or another length.
    pub fn new(text: impl Into<String>) -> Result<Self, ElectionError> {
        let text = text.into();
        check_name("member.name", &text)?;
        Ok(Self(text))
    }

    /// As it is.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for MemberName {
    type Error = ElectionError;

    fn try_from(text: String) -> Result<Self, ElectionError> {
        Self::new(text)
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> Self {
        name.0
    }
}

/// Names become parts of keys, so they hold nothing that means something there.
pub(crate) fn check_name(field: &'static str, text: &str) -> Result<(), ElectionError> {
    let is_allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if (1..=63).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(ElectionError::Option {
        field,
        reason: format!("({text:?}) must be 1 to 63 lower-case letters, digits or `-`"),
    })
}

/// A node as others see it. Fields that a later version adds are ignored by earlier ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Where other nodes reach its gRPC: `host:port`.
    pub grpc_address: String,
    /// Where its REST is: `host:port`.
    pub rest_address: String,
    /// Whether it may become the writer.
    pub may_write: bool,
    /// Names the one place where it keeps its data, which no two processes have at a time; empty when it has none. Who takes part
    /// under a name and an instance says that every earlier process of the two is gone.
    #[serde(default)]
    pub instance: String,
}

impl Member {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// [`ElectionError::Option`] that names the field.
    pub fn check(&self) -> Result<(), ElectionError> {
        let addresses = [
            ("member.grpc_address", &self.grpc_address),
            ("member.rest_address", &self.rest_address),
        ];
        for (field, address) in addresses {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if !port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|it| it > 0)) {
                let reason = format!("({address:?}) must be `host:port`");
                return Err(ElectionError::Option { field, reason });
            }
        }
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and a truth value always encode")
    }
}

/// Left behind by a writer that gave its place up, for whoever is the next one to tell why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Farewell {
    /// Who wrote.
    pub name: MemberName,
    /// Whether it could not go on; otherwise it was told to hand over.
    pub stepped_down: bool,
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Holds the writer key.
    Writer,
    /// Would take it.
    Candidate,
    /// Never does.
    Observer,
}

/// A member that is there: its lease lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub member: Member,
    /// As what.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: MemberName::new("n1").unwrap(),
            grpc_address: "10.0.0.1:7400".into(),
            rest_address: "[::1]:7400".into(),
            may_write: true,
            instance: String::new(),
        }
    }

    #[test]
    fn a_member_reads_as_it_was_written_and_later_fields_do_no_harm() {
        let text = member().encode();
        assert_eq!(serde_json::from_slice::<Member>(&text).unwrap(), member());
        let text = String::from_utf8(text)
            .unwrap()
            .replacen('{', r#"{"zone":"a","#, 1);
        assert_eq!(serde_json::from_str::<Member>(&text).unwrap(), member());
        let text = text.replace("n1", "n/1");
        assert!(serde_json::from_str::<Member>(&text).is_err());
    }

    #[test]
    fn names_and_addresses_that_cannot_be_used_are_refused_by_field() {
        for name in ["", "N1", "n/1", "n 1", &"n".repeat(64)] {
            assert!(
                MemberName::new(name)
                    .unwrap_err()
                    .to_string()
                    .contains("`member.name`")
            );
        }
        for address in ["", "host", ":1", "host:", "host:0", "host:65536"] {
            let wrong = Member {
                rest_address: address.into(),
                ..member()
            };
            let refused = wrong.check().unwrap_err().to_string();
            assert!(refused.contains("`member.rest_address`"), "{refused}");
            let wrong = Member {
                grpc_address: address.into(),
                ..member()
            };
            assert!(
                wrong
                    .check()
                    .unwrap_err()
                    .to_string()
                    .contains("`member.grpc_address`")
            );
        }
        assert_eq!(member().check(), Ok(()));
    }
}
