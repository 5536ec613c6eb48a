//! Metadata as clients give it (pure). Owns: what is acceptable, and the one form in which it is kept.
//!
//! It is kept as given except for white space between tokens: numbers, escapes and the order of members are the
//! client's, so that nothing is lost, and a repeat is compared byte by byte.

use serde_json::value::RawValue;

/// The most bytes that metadata may have once white space between tokens is gone.
pub const METADATA_BYTES_MAX: usize = 4_096;
/// The deepest nesting of objects and arrays in metadata.
pub const METADATA_DEPTH_MAX: usize = 32;

/// Checks that the text is a JSON object within the bounds, and strips white space between tokens.
///
/// # Errors
/// What is wrong with it.
pub fn compact(text: &str) -> Result<String, &'static str> {
    // Cheap before costly: most white space that a client could add is indentation.
    if text.len() > 16 * METADATA_BYTES_MAX {
        return Err("must be at most 4096 bytes of JSON");
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|_| "must be valid JSON")?;
    compact_valid(raw.get())
}

/// [`compact`] for text that is known to be valid JSON.
pub fn compact_valid(json: &str) -> Result<String, &'static str> {
    if !json.starts_with('{') {
        return Err("must be a JSON object");
    }
    let mut kept = String::with_capacity(json.len().min(METADATA_BYTES_MAX));
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            match character {
                '"' => in_string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                ' ' | '\t' | '\n' | '\r' => continue,
                _ => {}
            }
            if depth > METADATA_DEPTH_MAX {
                return Err("must be nested at most 32 deep");
            }
        }
        if kept.len() + character.len_utf8() > METADATA_BYTES_MAX {
            return Err("must be at most 4096 bytes of JSON");
        }
        kept.push(character);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_between_tokens_is_dropped() {
        let text = " {\n \"a b\" : [ 1.0e5 , \"x \\\" } \\\\\" ] ,\t\"é\":{} }\r\n";
        assert_eq!(compact(text).unwrap(), r#"{"a b":[1.0e5,"x \" } \\"],"é":{}}"#);
    }

    #[test]
    fn what_is_no_object_or_too_large_or_too_deep_is_refused() {
        assert_eq!(compact("[]"), Err("must be a JSON object"));
        assert_eq!(compact("{"), Err("must be valid JSON"));
        assert_eq!(compact("{} x"), Err("must be valid JSON"));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX - 8));
        assert_eq!(compact(&long).unwrap().len(), METADATA_BYTES_MAX);
        let longer = format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX - 7));
        assert_eq!(compact(&longer), Err("must be at most 4096 bytes of JSON"));
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(compact(&nested(METADATA_DEPTH_MAX - 1)).is_ok());
        assert_eq!(
            compact(&nested(METADATA_DEPTH_MAX)),
            Err("must be nested at most 32 deep")
        );
    }
}
