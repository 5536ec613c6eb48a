//! Where everything is in etcd (pure).

use crate::{Refusal, Version};

/// The keys of one ledger.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The document that counts.
    pub(crate) current: String,
    /// Below it every version that is kept, under a number whose order is that of its digits.
    pub(crate) history: String,
    /// Below it what each node has applied, on a lease of the node's.
    pub(crate) nodes: String,
}

impl Keys {
    pub(crate) fn new(ledger: &str) -> Result<Self, Refusal> {
        check_ledger(ledger)?;
        let all = format!("/shanraq/{ledger}/configuration/");
        Ok(Self {
            current: format!("{all}current"),
            history: format!("{all}history/"),
            nodes: format!("{all}nodes/"),
        })
    }

    pub(crate) fn version(&self, version: Version) -> String {
        format!("{}{:020}", self.history, version.0)
    }

    pub(crate) fn node(&self, name: &str) -> String {
        format!("{}{name}", self.nodes)
    }
}

/// A ledger's name is part of keys, as the election has it.
///
/// # Errors
/// It has other characters than lower-case letters, digits and `-`, or not 1 to 63 of them.
pub fn check_ledger(name: &str) -> Result<(), Refusal> {
    let is_allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    match (1..=63).contains(&name.len()) && name.bytes().all(is_allowed) {
        true => Ok(()),
        false => Err(Refusal::new(
            "ledger",
            format!("is {name:?}, not 1 to 63 lower-case letters, digits or `-`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_their_numbers_do() {
        let keys = Keys::new("main").unwrap();
        assert!(keys.version(Version(9)) < keys.version(Version(10)));
        assert!(keys.version(Version(u64::MAX)).starts_with(&keys.history));
        assert!(Keys::new("a/b").unwrap_err().to_string().starts_with("ledger: "));
    }
}
