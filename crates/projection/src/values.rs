//! Numbers and ids in PostgreSQL's binary forms (pure). Owns: their encoding, as parameters and as rows for COPY.

use bytes::{BufMut, Bytes, BytesMut};
use std::error::Error;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// A 128-bit id as `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uuid(pub(crate) u128);

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_u128(self.0);
        Ok(IsNull::No)
    }
    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }
    accepts!(UUID);
}

/// A whole number from 0 on as `numeric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numeric(pub(crate) u128);

/// `numeric` counts in groups of four decimals.
const GROUP: u128 = 10_000;
/// Groups of the largest number.
const GROUPS: usize = 10;

impl Numeric {
    /// Appends it in binary form and gives how many bytes that took.
    fn put(self, out: &mut BytesMut) -> usize {
        let mut groups = [0_u16; GROUPS];
        let (mut rest, mut start) = (self.0, GROUPS);
        // Most numbers are small, and this is the faster loop.
        while rest > u128::from(u64::MAX) {
            start -= 1;
            groups[start] = (rest % GROUP) as u16;
            rest /= GROUP;
        }
        let mut rest = rest as u64;
        while rest > 0 {
            start -= 1;
            groups[start] = (rest % GROUP as u64) as u16;
            rest /= GROUP as u64;
        }
        let weight = (GROUPS - start).saturating_sub(1);
        let groups = &groups[start..];
        let last = groups
            .iter()
            .rposition(|&group| group != 0)
            .map_or(0, |it| it + 1);
        out.put_u16(last as u16);
        out.put_u16(weight as u16);
        // Sign and digits behind the point.
        out.put_u32(0);
        for &group in &groups[..last] {
            out.put_u16(group);
        }
        8 + 2 * last
    }
}

impl ToSql for Numeric {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.put(out);
        Ok(IsNull::No)
    }
    accepts!(NUMERIC);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Numeric {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let (head, groups) = raw.split_at_checked(8).ok_or("a numeric that is cut off")?;
        let number = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
        let (count, weight) = (number(0), number(2));
        let is_whole = head[4..8] == [0; 4] && (count == 0 || weight < GROUPS && count <= weight + 1);
        if groups.len() != 2 * count || !is_whole {
            return Err("a numeric that is no whole number from 0 on".into());
        }
        let mut value = 0_u128;
        for at in 0..if count == 0 { 0 } else { weight + 1 } {
            let group = groups.chunks_exact(2).nth(at);
            let group = group.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
            let next = value.checked_mul(GROUP);
            value = next
                .and_then(|value| value.checked_add(group.into()))
                .ok_or("a numeric beyond 128 bits")?;
        }
        Ok(Self(value))
    }
    accepts!(NUMERIC);
}

/// Rows in the binary form of COPY.
#[derive(Debug, Default)]
pub(crate) struct CopyBuffer {
    bytes: BytesMut,
    /// Where each row begins.
    rows: Vec<usize>,
}

const COPY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COPY_END: &[u8] = &(-1_i16).to_be_bytes();

impl CopyBuffer {
    pub(crate) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// Up to `rows` rows from the one numbered `first` on, counted from 0, as a COPY of their own; none when there are
    /// no more.
    pub(crate) fn piece(&self, first: usize, rows: usize) -> Option<Bytes> {
        let begin = *self.rows.get(first)?;
        let end = self.rows.get(first.saturating_add(rows)).copied();
        let bytes = &self.bytes[begin..end.unwrap_or(self.bytes.len())];
        Some([COPY_HEAD, bytes, COPY_END].concat().into())
    }

    /// Begins a row of so many columns.
    pub(crate) fn row(&mut self, columns: i16) -> &mut Self {
        self.rows.push(self.bytes.len());
        self.bytes.put_i16(columns);
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.put_i32(-1);
        self
    }

    pub(crate) fn int8(&mut self, value: i64) -> &mut Self {
        self.bytes.put_i32(8);
        self.bytes.put_i64(value);
        self
    }

    pub(crate) fn int4(&mut self, value: i32) -> &mut Self {
        self.bytes.put_i32(4);
        self.bytes.put_i32(value);
        self
    }

    pub(crate) fn uuid(&mut self, value: u128) -> &mut Self {
        self.bytes.put_i32(16);
        self.bytes.put_u128(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes.put_i32(value.len() as i32);
        self.bytes.put_slice(value.as_bytes());
        self
    }

    pub(crate) fn numeric(&mut self, value: u128) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.put_i32(0);
        let length = Numeric(value).put(&mut self.bytes) as i32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// Ids and data for which 0 means that there is none.
    pub(crate) fn uuid_or_null(&mut self, value: u128) -> &mut Self {
        if value == 0 { self.null() } else { self.uuid(value) }
    }

    pub(crate) fn numeric_or_null(&mut self, value: u128) -> &mut Self {
        if value == 0 {
            self.null()
        } else {
            self.numeric(value)
        }
    }

    pub(crate) fn int8_or_null(&mut self, value: u32) -> &mut Self {
        if value == 0 {
            self.null()
        } else {
            self.int8(value.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_its_binary_form() {
        let mut numbers = vec![0, u128::MAX, u128::from(u64::MAX), u128::from(u64::MAX) + 1];
        for power in 0..39 {
            let ten = 10_u128.pow(power);
            numbers.extend([ten - 1, ten, ten + 1, ten.saturating_mul(3)]);
        }
        for number in numbers {
            let mut bytes = BytesMut::new();
            assert_eq!(Numeric(number).put(&mut bytes), bytes.len());
            let back = Numeric::from_sql(&Type::NUMERIC, &bytes).unwrap();
            assert_eq!(back, Numeric(number));
        }
    }

    #[test]
    fn pieces_together_are_all_rows_in_order() {
        let mut buffer = CopyBuffer::default();
        for number in 0..10 {
            buffer.row(1).int4(number);
        }
        let numbers = |first, rows| {
            let piece = buffer.piece(first, rows)?;
            let rows = piece
                .strip_prefix(COPY_HEAD)
                .unwrap()
                .strip_suffix(COPY_END)
                .unwrap();
            let number = |row: &[u8]| i32::from_be_bytes(row[6..].try_into().unwrap());
            Some(rows.chunks(10).map(number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(0, 4).unwrap(), [0, 1, 2, 3]);
        assert_eq!(numbers(4, 4).unwrap(), [4, 5, 6, 7]);
        assert_eq!(numbers(8, usize::MAX).unwrap(), [8, 9]);
        assert_eq!(numbers(10, 4), None);
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        let refused = |words: &[u16]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            Numeric::from_sql(&Type::NUMERIC, &bytes).is_err()
        };
        assert!(refused(&[1, 0, 0x4000, 0, 5]), "below 0");
        assert!(refused(&[0, 0, 0xc000, 0]), "not a number");
        assert!(refused(&[2, 0, 0, 0, 5, 5]), "behind the point");
        assert!(refused(&[1, 9, 0, 0, 9999]), "beyond 128 bits");
        assert!(refused(&[1, 0, 0, 0]), "cut off");
    }
}
