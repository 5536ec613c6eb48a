//! The document (pure). Owns: its form in etcd, and what of it is accepted.

use crate::{Refusal, Settings};
use serde_json::{Map, Value, json};
use std::fmt;

/// The form of documents that this program writes and reads. Others are refused, not guessed.
pub const SCHEMA: u64 = 1;
/// How many versions are kept.
pub const HISTORY_KEPT: usize = 100;
/// The longest name of who changed something, in characters.
const WHO_MAX: usize = 200;
/// The longest reason, in characters.
const WHY_MAX: usize = 500;

/// The number of a document, from 1 on; each change makes the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells one attempt to write a version from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u64);

/// Who changes something, when and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As given, such as `user@host`: nobody checks it yet.
    pub who: String,
    /// Milliseconds since the beginning of 1970, by the clock of who wrote it.
    pub when_ms: u64,
    /// The reason, as given.
    pub why: String,
}

/// A version of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its number.
    pub version: Version,
    /// The attempt that wrote it.
    pub id: Id,
    /// Who changed what, when and why.
    pub change: Change,
    /// The version whose settings these are again, after a rollback.
    pub restores: Option<Version>,
    /// What is set.
    pub settings: Settings,
}

impl Change {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// The refusal names `who` or `why`.
    pub fn check(&self) -> Result<(), Refusal> {
        for (field, text, max) in [("who", &self.who, WHO_MAX), ("why", &self.why, WHY_MAX)] {
            let is_long = text.chars().count() > max;
            if text.trim().is_empty() || is_long || text.chars().any(char::is_control) {
                let reason = format!("must be 1 to {max} characters on one line");
                return Err(Refusal::new(field, reason));
            }
        }
        Ok(())
    }
}

impl Document {
    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.json().to_string().into_bytes()
    }

    /// As JSON, in the form of [`Document::encode`].
    #[must_use]
    pub fn json(&self) -> Value {
        let mut value = json!({
            "schema": SCHEMA,
            "version": self.version.0,
            "id": format!("{:016x}", self.id.0),
            "who": self.change.who,
            "when_ms": self.change.when_ms,
            "why": self.change.why,
            "settings": self.settings.sections(),
        });
        if let Some(restores) = self.restores {
            value["restores"] = json!(restores.0);
        }
        value
    }

    /// Reads what [`Document::encode`] writes.
    ///
    /// # Errors
    /// The refusal names the field that is missing, unknown, of the wrong type or out of range.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|error| Refusal::new("document", format!("is no JSON: {error}")))?;
        let Value::Object(fields) = value else {
            return Err(Refusal::new("document", "is no JSON object"));
        };
        // Before all else: what comes after may mean something else in another schema.
        if whole(&fields, "schema")? != SCHEMA {
            let reason = format!("is {}, and this program knows {SCHEMA} only", fields["schema"]);
            return Err(Refusal::new("schema", reason));
        }
        const KNOWN: [&str; 8] = [
            "schema", "version", "id", "who", "when_ms", "why", "restores", "settings",
        ];
        if let Some(unknown) = fields.keys().find(|it| !KNOWN.contains(&it.as_str())) {
            return Err(Refusal::new(unknown, "is no field of a document"));
        }
        let settings = fields.get("settings").and_then(Value::as_object);
        let settings = settings.ok_or_else(|| Refusal::new("settings", "is missing, or no object"))?;
        let id = u64::from_str_radix(&text(&fields, "id")?, 16);
        let document = Self {
            version: version(&fields, "version")?,
            id: Id(id.map_err(|_| Refusal::new("id", "is no hexadecimal number of 64 bits"))?),
            change: Change {
                who: text(&fields, "who")?,
                when_ms: whole(&fields, "when_ms")?,
                why: text(&fields, "why")?,
            },
            restores: match fields.contains_key("restores") {
                true => Some(version(&fields, "restores")?),
                false => None,
            },
            settings: Settings::parse(settings)?,
        };
        document.change.check()?;
        Ok(document)
    }
}

fn whole(fields: &Map<String, Value>, field: &str) -> Result<u64, Refusal> {
    let number = fields.get(field).and_then(Value::as_u64);
    number.ok_or_else(|| Refusal::new(field, "is missing, or no whole number"))
}

fn version(fields: &Map<String, Value>, field: &str) -> Result<Version, Refusal> {
    match whole(fields, field)? {
        0 => Err(Refusal::new(field, "is 0; versions begin with 1")),
        number => Ok(Version(number)),
    }
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<String, Refusal> {
    let text = fields.get(field).and_then(Value::as_str);
    text.map(str::to_owned)
        .ok_or_else(|| Refusal::new(field, "is missing, or no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogLevel;

    fn document() -> Document {
        Document {
            version: Version(7),
            id: Id(0xfeed),
            change: Change {
                who: "aidar@h1".into(),
                when_ms: 1_790_000_000_000,
                why: "look for the slow request".into(),
            },
            restores: None,
            settings: Settings {
                log_level: Some(LogLevel::Debug),
                ..Settings::default()
            },
        }
    }

    #[test]
    fn a_document_reads_as_it_was_written() {
        let written = document();
        assert_eq!(Document::parse(&written.encode()), Ok(written.clone()));
        let restored = Document {
            restores: Some(Version(3)),
            ..written
        };
        assert_eq!(Document::parse(&restored.encode()), Ok(restored));
    }

    #[test]
    fn every_field_that_is_missing_wrong_or_unknown_is_refused_by_name() {
        let fields = ["schema", "version", "id", "who", "when_ms", "why", "settings"];
        for field in fields {
            let mut value = document().json();
            value.as_object_mut().unwrap().remove(field);
            let refused = Document::parse(value.to_string().as_bytes()).unwrap_err();
            assert_eq!(refused.field, field, "missing");
            value[field] = json!([]);
            let refused = Document::parse(value.to_string().as_bytes()).unwrap_err();
            assert_eq!(refused.field, field, "wrong");
        }
        let more = [
            ("schema", json!(2)),
            ("version", json!(0)),
            ("restores", json!("3")),
            ("who", json!(" ")),
            ("why", json!("two\nlines")),
            ("why", json!("x".repeat(WHY_MAX + 1))),
            ("note", json!("")),
        ];
        for (field, wrong) in more {
            let mut value = document().json();
            value[field] = wrong;
            let refused = Document::parse(value.to_string().as_bytes()).unwrap_err();
            assert_eq!(refused.field, field);
        }
        let mut value = document().json();
        value["settings"]["node"] = json!({ "overload_retry_ms": 0 });
        let refused = Document::parse(value.to_string().as_bytes()).unwrap_err();
        assert_eq!(refused.field, "node.overload_retry_ms");
        for bytes in ["", "{", "[]", "5"] {
            assert_eq!(Document::parse(bytes.as_bytes()).unwrap_err().field, "document");
        }
    }
}
