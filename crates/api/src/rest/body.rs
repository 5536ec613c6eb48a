//! Reading JSON bodies (pure). Owns: exact numbers, refusal of unknown and repeated fields, and the name of the place at
//! fault. Tokens are `serde_json`'s; a body is scanned once for syntax and then object by object, never recursively.

use crate::error::{ApiError, Place};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Where a value stands in the body; becomes text only when something is wrong there.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    pub(crate) fn fail(&self, detail: impl Into<String>) -> ApiError {
        let mut pointer = String::new();
        self.write(&mut pointer);
        ApiError::field(Place::Pointer(pointer), detail)
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Root => {}
            Self::Key(parent, key) => {
                parent.write(out);
                out.push('/');
                out.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Self::Index(parent, index) => {
                parent.write(out);
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
    }
}

/// A value of the body, not yet looked into.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(&'a RawValue);

/// Checks the whole body's syntax.
pub(crate) fn parse(body: &[u8]) -> Result<Value<'_>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let before = &body[..error.valid_up_to()];
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        ApiError::Syntax {
            line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
            column: 1 + before.len() - line_start,
            detail: "the body is not UTF-8".to_owned(),
        }
    })?;
    serde_json::from_str(text)
        .map(Value)
        .map_err(|error| ApiError::Syntax {
            line: error.line(),
            column: error.column(),
            detail: without_position(&error),
        })
}

/// `serde_json` appends the position, which has its own fields here.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

impl<'a> Value<'a> {
    fn text(self) -> &'a str {
        self.0.get()
    }

    fn starts(self) -> u8 {
        self.text().as_bytes().first().copied().unwrap_or(0)
    }

    /// The fields of an object, in the order of `known`. Others are refused, and so is a field that comes twice.
    pub(crate) fn object<const N: usize>(
        self,
        path: &Path<'_>,
        known: &[&'static str; N],
    ) -> Result<[Option<Value<'a>>; N], ApiError> {
        if self.starts() != b'{' {
            return Err(path.fail("must be an object"));
        }
        let Fields(fields) = serde_json::from_str(self.text())
            .map_err(|error| path.fail(format!("has a malformed name: {}", without_position(&error))))?;
        let mut slots = [None; N];
        for (name, value) in fields {
            let slot = known
                .iter()
                .position(|field| *field == name)
                .ok_or_else(|| Path::Key(path, &name).fail("is not a known field"))?;
            if slots[slot].replace(Value(value)).is_some() {
                return Err(Path::Key(path, &name).fail("is given twice"));
            }
        }
        Ok(slots)
    }

    /// The elements of an array.
    pub(crate) fn array(self, path: &Path<'_>) -> Result<Vec<Value<'a>>, ApiError> {
        if self.starts() != b'[' {
            return Err(path.fail("must be an array"));
        }
        let raw: Vec<&'a RawValue> =
            serde_json::from_str(self.text()).map_err(|_| path.fail("must be an array"))?;
        Ok(raw.into_iter().map(Value).collect())
    }

    /// A string.
    pub(crate) fn string(self, path: &Path<'_>) -> Result<Cow<'a, str>, ApiError> {
        if self.starts() != b'"' {
            return Err(path.fail("must be a string"));
        }
        let inner = &self.text()[1..self.text().len() - 1];
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.text())
            .map(Cow::Owned)
            .map_err(|_| path.fail("must be a string of Unicode characters"))
    }

    /// A number of at most `max`, as a decimal string or an integer.
    pub(crate) fn wide(self, path: &Path<'_>, max: u128) -> Result<u128, ApiError> {
        let what = "must be a non-negative integer, or a string of one";
        let digits = match self.starts() {
            b'"' => self.string(path).map_err(|_| path.fail(what))?,
            b'-' | b'0'..=b'9' => Cow::Borrowed(self.text()),
            _ => return Err(path.fail(what)),
        };
        decimal(&digits, max).map_err(|detail| path.fail(detail.unwrap_or_else(|| what.to_owned())))
    }

    /// An integer of at most `max`; not a string.
    pub(crate) fn narrow(self, path: &Path<'_>, max: u32) -> Result<u32, ApiError> {
        let what = "must be a non-negative integer";
        if !self.starts().is_ascii_digit() {
            return Err(path.fail(what));
        }
        let number = decimal(self.text(), u128::from(max))
            .map_err(|detail| path.fail(detail.unwrap_or_else(|| what.to_owned())))?;
        Ok(u32::try_from(number).expect("at most `max`"))
    }

    /// An array of names from `names`, each at most once, as the sum of their bits.
    pub(crate) fn flags(
        self,
        path: &Path<'_>,
        names: impl Iterator<Item = (&'static str, u16)> + Clone,
    ) -> Result<u16, ApiError> {
        let mut bits = 0;
        for (index, value) in self.array(path)?.into_iter().enumerate() {
            let here = Path::Index(path, index);
            let name = value.string(&here)?;
            let (_, flag) = names
                .clone()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| here.fail("is not the name of a flag"))?;
            if bits & flag != 0 {
                return Err(here.fail("is given twice"));
            }
            bits |= flag;
        }
        Ok(bits)
    }

    /// Metadata in the form in which it is kept.
    pub(crate) fn metadata(self, path: &Path<'_>) -> Result<String, ApiError> {
        wire::metadata::compact_valid(self.text()).map_err(|detail| path.fail(detail))
    }
}

/// A decimal without sign, fraction, exponent or leading zeros. The error is `None` when it is no such number at all.
pub(crate) fn decimal(text: &str, max: u128) -> Result<u128, Option<String>> {
    let canonical = text == "0" || !text.starts_with('0');
    if text.is_empty() || !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(None);
    }
    match text.parse::<u128>() {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Some(format!("must be at most {max}"))),
    }
}

/// The members of an object as they come.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(json: &str) -> Result<u128, ApiError> {
        parse(json.as_bytes()).unwrap().wide(&Path::Root, u128::MAX)
    }

    #[test]
    fn numbers_are_exact_up_to_128_bits_as_integers_and_as_strings() {
        let max = u128::MAX;
        assert_eq!(wide(&max.to_string()), Ok(max));
        assert_eq!(wide(&format!("\"{max}\"")), Ok(max));
        assert_eq!(wide("18446744073709551616"), Ok(1 << 64));
        assert_eq!(wide("\"\\u0031\""), Ok(1));
        assert_eq!(wide("0"), Ok(0));
    }

    #[test]
    fn what_is_no_plain_decimal_is_refused() {
        for json in [
            "-1", "1.0", "1e3", "null", "true", "[]", "\"\"", "\"01\"", "\"+1\"", "\" 1\"", "\"1.5\"",
            "\"-0\"",
        ] {
            let error = wide(json).unwrap_err();
            assert!(
                error.to_string().contains("must be a non-negative integer"),
                "{json}: {error}"
            );
        }
        assert!(
            wide("340282366920938463463374607431768211456")
                .unwrap_err()
                .to_string()
                .contains("at most")
        );
    }

    #[test]
    fn syntax_errors_name_line_and_column() {
        let error = parse(b"{\"a\": 1,\n  x}").err().unwrap();
        let ApiError::Syntax { line, column, detail } = error else {
            panic!("{error}")
        };
        assert_eq!((line, column), (2, 3));
        assert_eq!(detail, "key must be a string");
        let error = parse(b"{\n\"\xff\": 1}").err().unwrap();
        assert!(
            matches!(
                error,
                ApiError::Syntax {
                    line: 2,
                    column: 2,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn pointers_escape_names() {
        let value = parse(br#"{"a/b~c": 1}"#).unwrap();
        let error = value.object(&Path::Root, &["x"]).err().unwrap();
        assert_eq!(error.to_string(), "/a~1b~0c: is not a known field");
    }

    #[test]
    fn a_field_may_not_come_twice() {
        let value = parse(br#"{"x": 1, "\u0078": 2}"#).unwrap();
        let error = value.object(&Path::Root, &["x"]).err().unwrap();
        assert_eq!(error.to_string(), "/x: is given twice");
    }

    #[test]
    fn deep_nesting_neither_overflows_nor_passes() {
        let deep = "[".repeat(1 << 20);
        assert!(matches!(parse(deep.as_bytes()), Err(ApiError::Syntax { .. })));
        let closed = format!("{}{}", "[".repeat(1 << 18), "]".repeat(1 << 18));
        let error = parse(closed.as_bytes())
            .unwrap()
            .object(&Path::Root, &["x"])
            .err()
            .unwrap();
        assert_eq!(error.to_string(), ": must be an object");
    }
}
