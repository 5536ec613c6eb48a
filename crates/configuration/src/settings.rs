//! The settings (pure). Owns: their names, units, ranges and meaning, and the refusal of everything else. Must not: hold one
//! that a rule, durability or the choice of the writer depends on.

use crate::{LogLevel, Refusal};
use serde_json::{Map, Value, json};

/// What is set for all nodes. What is not set, each node's own file says; the names are those of that file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `log.level`.
    pub log_level: Option<LogLevel>,
    /// `server.default_timeout_ms`.
    pub default_timeout_ms: Option<u64>,
    /// `server.timeout_max_ms`.
    pub timeout_max_ms: Option<u64>,
    /// `server.bounded_age_max_ms`.
    pub bounded_age_max_ms: Option<u64>,
    /// `node.queue_requests_max`.
    pub queue_requests_max: Option<u64>,
    /// `node.queue_events_max`.
    pub queue_events_max: Option<u64>,
    /// `node.overload_retry_ms`.
    pub overload_retry_ms: Option<u64>,
    /// `node.index_lag_rows_max`.
    pub index_lag_rows_max: Option<u64>,
}

/// What a setting holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A level of the log.
    Level,
    /// A whole number.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
        /// What a node's own file says when it does not say it either.
        default: u64,
        /// Where it is.
        slot: fn(&mut Settings) -> &mut Option<u64>,
    },
}

/// A setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.key`, as in a node's own file.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// All settings, by section.
pub const SETTINGS: [Setting; 8] = [
    Setting {
        name: "log.level",
        meaning: "the least severe lines that a node writes to its log",
        kind: Kind::Level,
    },
    Setting {
        name: "server.default_timeout_ms",
        meaning: "how long a request may take that names no deadline",
        kind: Kind::Whole {
            min: 100,
            max: 600_000,
            default: 10_000,
            slot: |it| &mut it.default_timeout_ms,
        },
    },
    Setting {
        name: "server.timeout_max_ms",
        meaning: "the longest time that a request may ask for",
        kind: Kind::Whole {
            min: 1_000,
            max: 3_600_000,
            default: 300_000,
            slot: |it| &mut it.timeout_max_ms,
        },
    },
    Setting {
        name: "server.bounded_age_max_ms",
        meaning: "the greatest age that a bounded read may ask for; a greater one counts as this",
        kind: Kind::Whole {
            min: 1,
            max: 86_400_000,
            default: 3_600_000,
            slot: |it| &mut it.bounded_age_max_ms,
        },
    },
    Setting {
        name: "node.queue_requests_max",
        meaning: "requests that wait before further ones are refused as overload",
        kind: Kind::Whole {
            min: 1,
            max: 1_048_576,
            default: 65_536,
            slot: |it| &mut it.queue_requests_max,
        },
    },
    Setting {
        name: "node.queue_events_max",
        meaning: "events that wait before further requests are refused as overload",
        kind: Kind::Whole {
            min: 8_190,
            max: 8_388_608,
            default: 524_288,
            slot: |it| &mut it.queue_events_max,
        },
    },
    Setting {
        name: "node.overload_retry_ms",
        meaning: "when a client that was refused as overload is told to try again",
        kind: Kind::Whole {
            min: 1,
            max: 60_000,
            default: 20,
            slot: |it| &mut it.overload_retry_ms,
        },
    },
    Setting {
        name: "node.index_lag_rows_max",
        meaning: "rows that the history index may be behind before writes wait for it",
        kind: Kind::Whole {
            min: 8_192,
            max: 16_777_216,
            default: 262_144,
            slot: |it| &mut it.index_lag_rows_max,
        },
    },
];

impl Setting {
    /// The setting of this name.
    ///
    /// # Errors
    /// The refusal names it.
    pub fn named(name: &str) -> Result<&'static Self, Refusal> {
        let found = SETTINGS.iter().find(|it| it.name == name);
        found.ok_or_else(|| Refusal::new(name, "is no setting that can be changed while nodes run"))
    }

    /// What it may be, in words.
    #[must_use]
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Level => LogLevel::ALL.map(LogLevel::as_str).join(", "),
            Kind::Whole { min, max, .. } => format!("{min} to {max}"),
        }
    }

    /// What a node's own file says when it does not say it either.
    #[must_use]
    pub fn default(&self) -> Value {
        match self.kind {
            Kind::Level => json!(LogLevel::Info),
            Kind::Whole { default, .. } => json!(default),
        }
    }

    /// What it is set to.
    #[must_use]
    pub fn get(&self, settings: &Settings) -> Option<Value> {
        match self.kind {
            Kind::Level => settings.log_level.map(|level| json!(level)),
            Kind::Whole { slot, .. } => slot(&mut settings.clone()).map(|number| json!(number)),
        }
    }

    /// Sets it, or leaves it to the nodes' own files.
    ///
    /// # Errors
    /// The refusal names it.
    pub fn put(&self, settings: &mut Settings, value: Option<&Value>) -> Result<(), Refusal> {
        let refuse = |it: &Value| Refusal::new(self.name, format!("is {it}, not one of: {}", self.range()));
        match self.kind {
            Kind::Level => {
                let level = |it: &Value| it.as_str().and_then(LogLevel::named).ok_or_else(|| refuse(it));
                settings.log_level = value.map(level).transpose()?;
            }
            Kind::Whole { min, max, slot, .. } => {
                let refuse = |it: &Value| {
                    Refusal::new(
                        self.name,
                        format!("is {it}, not a whole number from {min} to {max}"),
                    )
                };
                let within = |it: &Value| it.as_u64().filter(|it| (min..=max).contains(it));
                let number = |it: &Value| within(it).ok_or_else(|| refuse(it));
                *slot(settings) = value.map(number).transpose()?;
            }
        }
        Ok(())
    }

    /// Reads a value as it is written on a command line.
    #[must_use]
    pub fn value(&self, text: &str) -> Value {
        match self.kind {
            Kind::Level => json!(text),
            Kind::Whole { .. } => text.parse::<u64>().map_or_else(|_| json!(text), |it| json!(it)),
        }
    }
}

impl Settings {
    /// Reads sections of settings, as a node's own file has them.
    ///
    /// # Errors
    /// The refusal names the first setting that is unknown, of the wrong type or out of range.
    pub fn parse(sections: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut settings = Self::default();
        for (section, keys) in sections {
            if !SETTINGS.iter().any(|it| in_section(it.name, section)) {
                return Err(Refusal::new(
                    section,
                    "is no section of settings that can be changed while nodes run",
                ));
            }
            let Some(keys) = keys.as_object() else {
                return Err(Refusal::new(section, "is not a section of settings"));
            };
            for (key, value) in keys {
                let setting = Setting::named(&format!("{section}.{key}"))?;
                setting.put(&mut settings, Some(value))?;
            }
        }
        settings.check()?;
        Ok(settings)
    }

    /// Checks what no setting can by itself.
    ///
    /// # Errors
    /// The refusal names the setting.
    pub fn check(&self) -> Result<(), Refusal> {
        match (self.default_timeout_ms, self.timeout_max_ms) {
            (Some(default), Some(max)) if default > max => Err(Refusal::new(
                "server.default_timeout_ms",
                format!("is {default}, more than server.timeout_max_ms, which is {max}"),
            )),
            _ => Ok(()),
        }
    }

    /// As sections, what is not set left out; [`Settings::parse`] reads it.
    #[must_use]
    pub fn sections(&self) -> Map<String, Value> {
        let mut sections = Map::new();
        for setting in &SETTINGS {
            let Some(value) = setting.get(self) else { continue };
            let (section, key) = setting.name.split_once('.').expect("each name has a section");
            let section = sections.entry(section).or_insert_with(|| json!({}));
            section[key] = value;
        }
        sections
    }

    /// Name, value here and value there of each setting that differs.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(&'static str, Option<Value>, Option<Value>)> {
        let rows = SETTINGS.iter().map(|it| (it.name, it.get(self), it.get(other)));
        rows.filter(|(_, here, there)| here != there).collect()
    }
}

fn in_section(name: &str, section: &str) -> bool {
    name.split_once('.').is_some_and(|(before, _)| before == section)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Result<Settings, String> {
        Settings::parse(value.as_object().unwrap()).map_err(|refusal| refusal.to_string())
    }

    /// A value within the range that is not the default.
    fn other_than_default(setting: &Setting) -> Value {
        match setting.kind {
            Kind::Level => json!("debug"),
            Kind::Whole { max, .. } => json!(max - 1),
        }
    }

    #[test]
    fn every_setting_is_read_back_as_it_was_written() {
        for setting in &SETTINGS {
            let mut settings = Settings::default();
            let value = other_than_default(setting);
            setting.put(&mut settings, Some(&value)).unwrap();
            assert_eq!(setting.get(&settings), Some(value), "{}", setting.name);
            assert_eq!(settings.sections().len(), 1, "no other is touched");
            assert_eq!(Settings::parse(&settings.sections()).unwrap(), settings);
            setting.put(&mut settings, None).unwrap();
            assert_eq!(settings, Settings::default(), "{}", setting.name);
        }
    }

    #[test]
    fn the_bounds_of_every_range_are_taken_and_what_lies_beyond_is_refused_by_name() {
        for setting in &SETTINGS {
            let Kind::Whole {
                min, max, default, ..
            } = setting.kind
            else {
                continue;
            };
            assert!((min..=max).contains(&default), "{}", setting.name);
            for good in [min, max] {
                setting.put(&mut Settings::default(), Some(&json!(good))).unwrap();
            }
            for bad in [
                json!(min - 1),
                json!(max + 1),
                json!(-1),
                json!(1.5),
                json!("5"),
                json!(true),
                json!(null),
            ] {
                let refused = setting
                    .put(&mut Settings::default(), Some(&bad))
                    .unwrap_err()
                    .to_string();
                assert!(refused.contains(setting.name), "{bad}: {refused}");
            }
        }
    }

    #[test]
    fn unknown_names_wrong_types_and_contradictions_are_refused_by_name() {
        let refusals = [
            (json!({ "log": { "level": "loud" } }), "log.level"),
            (json!({ "log": { "level": 3 } }), "log.level"),
            (json!({ "log": { "json": true } }), "log.json"),
            (json!({ "node": { "snapshot_rows": 5 } }), "node.snapshot_rows"),
            (json!({ "journal": { "durability": "local" } }), "journal"),
            (json!({ "server": 5 }), "server"),
            (
                json!({ "server": { "default_timeout_ms": 5_000, "timeout_max_ms": 4_000 } }),
                "server.default_timeout_ms",
            ),
        ];
        for (sections, name) in refusals {
            let refused = parse(sections).unwrap_err();
            assert!(refused.starts_with(&format!("{name}: ")), "{name}: {refused}");
        }
        assert_eq!(parse(json!({})), Ok(Settings::default()));
    }

    #[test]
    fn a_command_line_takes_numbers_and_words_and_leaves_the_rest_to_be_refused() {
        let setting = Setting::named("node.overload_retry_ms").unwrap();
        assert_eq!(setting.value("50"), json!(50));
        let refused = setting.put(&mut Settings::default(), Some(&setting.value("50ms")));
        assert!(refused.unwrap_err().to_string().contains("\"50ms\""));
        assert!(
            Setting::named("node.nothing")
                .unwrap_err()
                .to_string()
                .contains("node.nothing")
        );
    }

    #[test]
    fn the_document_for_operators_tells_every_setting_with_its_range() {
        let told = include_str!("../../../docs/configuration.md");
        let number = |number: u64| {
            let digits = number.to_string();
            let groups = digits.as_bytes().rchunks(3).rev();
            let groups: Vec<_> = groups.map(|it| std::str::from_utf8(it).unwrap()).collect();
            groups.join(",")
        };
        for setting in &SETTINGS {
            let range = match setting.kind {
                Kind::Level => LogLevel::ALL.map(|it| format!("`{it}`")).join(", "),
                Kind::Whole { min, max, .. } => format!("{} to {}", number(min), number(max)),
            };
            let row = format!("| `{}` | {range}", setting.name);
            assert!(told.contains(&row), "no row {row}");
        }
    }

    #[test]
    fn only_what_differs_is_told() {
        let before =
            parse(json!({ "log": { "level": "info" }, "node": { "overload_retry_ms": 5 } })).unwrap();
        let after =
            parse(json!({ "log": { "level": "debug" }, "node": { "overload_retry_ms": 5 } })).unwrap();
        let told = before.differences(&after);
        assert_eq!(told, [("log.level", Some(json!("info")), Some(json!("debug")))]);
    }
}
