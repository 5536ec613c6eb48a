//! Bytes to text (pure). Owns: byte order marks, XML's encoding declaration, decoding without replacement.
//! Must not: guess an encoding that is neither declared nor the default.

use crate::{Located, PaymentsError};
use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use std::borrow::Cow;

/// The largest file that is read, in bytes; all of it is held in memory, since nothing may be booked before
/// the last control sum is known.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The text of an XML file: by byte order mark, else by its declaration, else UTF-8.
///
/// # Errors
/// When the encoding is unknown, or the bytes are not in it; the line is named.
pub fn decode_xml(bytes: &[u8]) -> Result<Cow<'_, str>, PaymentsError> {
    check_size(bytes)?;
    if let Some((encoding, rest)) = byte_order_mark(bytes)? {
        return decode(rest, encoding);
    }
    match bytes {
        [b'<', 0, b'?', 0, ..] => return decode(bytes, UTF_16LE),
        [0, b'<', 0, b'?', ..] => return decode(bytes, UTF_16BE),
        _ => {}
    }
    let Some(label) = declared(bytes) else {
        return decode(bytes, UTF_8);
    };
    let wrong = |text: String| PaymentsError::Encoding(Located::new(1, "encoding", text));
    let encoding = Encoding::for_label(label.as_bytes())
        .ok_or_else(|| wrong(format!("the declared encoding {label:?} is not known")))?;
    if encoding == UTF_16LE || encoding == UTF_16BE {
        return Err(wrong(format!(
            "the file declares {label} but is not written in it"
        )));
    }
    decode(bytes, encoding)
}

/// The text of a CSV file: by byte order mark, else in the encoding named, else UTF-8.
///
/// # Errors
/// As [`decode_xml`].
pub fn decode_csv<'a>(bytes: &'a [u8], label: Option<&str>) -> Result<Cow<'a, str>, PaymentsError> {
    check_size(bytes)?;
    if let Some((encoding, rest)) = byte_order_mark(bytes)? {
        return decode(rest, encoding);
    }
    let encoding = match label {
        None => UTF_8,
        Some(label) => Encoding::for_label(label.as_bytes()).ok_or_else(|| {
            PaymentsError::Encoding(Located::new(0, "encoding", format!("{label:?} is not known")))
        })?,
    };
    decode(bytes, encoding)
}

fn check_size(bytes: &[u8]) -> Result<(), PaymentsError> {
    let size = bytes.len() as u64;
    if size > FILE_BYTES_MAX {
        return Err(PaymentsError::TooLarge {
            bytes: size,
            max: FILE_BYTES_MAX,
        });
    }
    Ok(())
}

type Marked<'a> = Option<(&'static Encoding, &'a [u8])>;

fn byte_order_mark(bytes: &[u8]) -> Result<Marked<'_>, PaymentsError> {
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err(PaymentsError::Encoding(Located::new(
            1,
            "encoding",
            "UTF-32 is not supported",
        )));
    }
    Ok(Encoding::for_bom(bytes).map(|(encoding, length)| (encoding, &bytes[length..])))
}

/// The label in `<?xml … encoding="…"?>`, which is ASCII in every encoding that gets here.
fn declared(bytes: &[u8]) -> Option<String> {
    let head = &bytes[..bytes.len().min(256)];
    let head: String = head.iter().map(|byte| char::from(*byte)).collect();
    let head = head.trim_start();
    let declaration = head.strip_prefix("<?xml")?.split("?>").next()?;
    let (_, after) = declaration.split_once("encoding")?;
    let after = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    after[1..]
        .split(quote)
        .next()
        .map(|label| label.trim().to_owned())
}

fn decode<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> Result<Cow<'a, str>, PaymentsError> {
    if encoding == UTF_8 {
        return std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            malformed(line, encoding)
        });
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let capacity = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    let mut text = String::with_capacity(capacity.unwrap_or(bytes.len()));
    match decoder
        .decode_to_string_without_replacement(bytes, &mut text, true)
        .0
    {
        DecoderResult::InputEmpty => Ok(Cow::Owned(text)),
        DecoderResult::Malformed(..) | DecoderResult::OutputFull => Err(malformed(
            1 + text.bytes().filter(|byte| *byte == b'\n').count(),
            encoding,
        )),
    }
}

fn malformed(line: usize, encoding: &'static Encoding) -> PaymentsError {
    let text = format!(
        "bytes that are not {}; declare the encoding, or save the file as UTF-8",
        encoding.name()
    );
    PaymentsError::Encoding(Located::new(line as u64, "", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let unit = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn every_encoding_that_banks_use_gives_the_same_text() {
        let text = "<?xml version=\"1.0\"?><Nm>Müller</Nm>";
        let mut marked = vec![0xef, 0xbb, 0xbf];
        marked.extend(text.as_bytes());
        let mut little = vec![0xff, 0xfe];
        little.extend(utf16(text, false));
        let mut big = vec![0xfe, 0xff];
        big.extend(utf16(text, true));
        for bytes in [
            text.as_bytes().to_vec(),
            marked,
            little,
            big,
            utf16(text, false),
            utf16(text, true),
        ] {
            assert_eq!(decode_xml(&bytes).expect("decodes"), text);
        }
    }

    #[test]
    fn the_declaration_decides_among_single_byte_encodings() {
        for (label, byte, letter) in [
            ("ISO-8859-1", 0xfc, 'ü'),
            ("iso-8859-15", 0xa4, '€'),
            ("windows-1252", 0x80, '€'),
            ("windows-1251", 0xd8, 'Ш'),
        ] {
            let mut bytes = format!("<?xml version='1.0' encoding='{label}'?><a>").into_bytes();
            bytes.push(byte);
            let text = decode_xml(&bytes).expect("decodes");
            assert!(text.ends_with(letter), "{label}: {text}");
        }
    }

    #[test]
    fn wrong_bytes_and_labels_are_refused_with_their_line() {
        let error = decode_xml(b"<a>\n<b>\n\xff").expect_err("not UTF-8");
        assert_eq!(
            error.to_string(),
            "PAY-0001: line 3: bytes that are not UTF-8; declare the encoding, or save the file as UTF-8"
        );
        let error = decode_xml(b"<?xml version=\"1.0\" encoding=\"klingon\"?>").expect_err("unknown");
        assert!(error.to_string().contains("\"klingon\" is not known"), "{error}");
        let error = decode_xml(b"<?xml version=\"1.0\" encoding=\"UTF-16\"?>").expect_err("not so");
        assert!(error.to_string().contains("is not written in it"), "{error}");
        assert!(decode_xml(&[0xff, 0xfe, 0, 0]).is_err());
        let mut odd = vec![0xff, 0xfe];
        odd.extend(utf16("<a>\n", false));
        odd.push(b'x');
        assert!(
            decode_xml(&odd)
                .expect_err("half a character")
                .to_string()
                .contains("line 2")
        );
    }
}
