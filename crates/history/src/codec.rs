//! How numbers, rows and accounts look as bytes (pure). Owns: the record format. What cannot be decoded is `None`,
//! never a guess. Version of the whole format: see the manifest.

use ledger::{
    Account, AccountFlags, AccountId, AccountNumber, Amount, Balances, Code, LedgerId, Row, RowKind,
    TimestampNs, Transfer, TransferFlags, TransferId,
};

/// Reads from a slice, forwards.
pub(crate) struct Bytes<'b>(pub &'b [u8]);

impl Bytes<'_> {
    #[inline]
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Option<u128> {
        self.take().map(u128::from_le_bytes)
    }

    /// A number in groups of seven bits, the lowest first.
    #[inline]
    pub fn varint(&mut self) -> Option<u128> {
        let mut value = 0_u128;
        let mut shift = 0;
        loop {
            let [byte] = self.take()?;
            let bits = u128::from(byte & 0x7f);
            if shift > 121 && bits >> (128 - shift) != 0 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
            if shift > 127 {
                return None;
            }
        }
    }

    /// [`Bytes::varint`] in 64 bits: most numbers are small, and this is the faster loop.
    #[inline]
    pub fn varint64(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        let mut shift = 0;
        loop {
            let [byte] = self.take()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }

    #[inline]
    pub fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.varint64()?).ok()
    }
}

#[inline]
pub(crate) fn put_varint64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    loop {
        if let Ok(rest) = u64::try_from(value) {
            return put_varint64(out, rest);
        }
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
}

/// Where a piece of metadata lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlobRef {
    /// Counted over all metadata ever appended.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
    /// Keyed checksum.
    pub check: u64,
}

const PENDING: u8 = 1 << 2;
const DATA_128: u8 = 1 << 3;
const DATA_64: u8 = 1 << 4;
const DATA_32: u8 = 1 << 5;
const TIMEOUT: u8 = 1 << 6;
const BLOB: u8 = 1 << 7;

fn put_blob(out: &mut Vec<u8>, blob: BlobRef) {
    put_varint64(out, blob.offset);
    put_varint64(out, u64::from(blob.length));
    out.extend_from_slice(&blob.check.to_le_bytes());
}

fn take_blob(bytes: &mut Bytes<'_>) -> Option<BlobRef> {
    Some(BlobRef {
        offset: bytes.varint64()?,
        length: bytes.small()?,
        check: bytes.u64()?,
    })
}

#[inline]
fn put_balances(out: &mut Vec<u8>, balances: &Balances) {
    put_varint(out, balances.debits_pending.0);
    put_varint(out, balances.debits_posted.0);
    put_varint(out, balances.credits_pending.0);
    put_varint(out, balances.credits_posted.0);
}

fn take_balances(bytes: &mut Bytes<'_>) -> Option<Balances> {
    Some(Balances {
        debits_pending: Amount(bytes.varint()?),
        debits_posted: Amount(bytes.varint()?),
        credits_pending: Amount(bytes.varint()?),
        credits_posted: Amount(bytes.varint()?),
    })
}

/// Appends a row without its timestamp, which the page keeps.
pub(crate) fn put_row(out: &mut Vec<u8>, row: &Row, blob: Option<BlobRef>) {
    let transfer = &row.transfer;
    if row.kind == RowKind::Burnt {
        out.push(RowKind::Burnt as u8);
        out.extend_from_slice(&transfer.id.0.to_le_bytes());
        return;
    }
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let present = bit(transfer.pending_id.0 != 0, PENDING)
        | bit(transfer.user_data_128 != 0, DATA_128)
        | bit(transfer.user_data_64 != 0, DATA_64)
        | bit(transfer.user_data_32 != 0, DATA_32)
        | bit(transfer.timeout != 0, TIMEOUT)
        | bit(blob.is_some(), BLOB);
    out.push(row.kind as u8 | present);
    if row.kind == RowKind::Applied {
        out.extend_from_slice(&transfer.id.0.to_le_bytes());
    }
    put_varint64(out, u64::from(transfer.flags.bits()));
    put_varint64(out, u64::from(transfer.code.0));
    put_varint64(out, u64::from(transfer.ledger.0));
    put_varint64(out, u64::from(row.debit.0));
    put_varint64(out, u64::from(row.credit.0));
    put_varint(out, transfer.amount.0);
    put_balances(out, &row.debit_balances);
    put_balances(out, &row.credit_balances);
    if present & PENDING != 0 {
        out.extend_from_slice(&transfer.pending_id.0.to_le_bytes());
    }
    if present & DATA_128 != 0 {
        out.extend_from_slice(&transfer.user_data_128.to_le_bytes());
    }
    if present & DATA_64 != 0 {
        put_varint64(out, transfer.user_data_64);
    }
    if present & DATA_32 != 0 {
        put_varint64(out, u64::from(transfer.user_data_32));
    }
    if present & TIMEOUT != 0 {
        put_varint64(out, u64::from(transfer.timeout));
    }
    if let Some(blob) = blob {
        put_blob(out, blob);
    }
}

/// Reads what [`put_row`] wrote; `ids` gives the id of an account.
pub(crate) fn take_row(
    bytes: &mut Bytes<'_>,
    timestamp: TimestampNs,
    ids: impl Fn(AccountNumber) -> Option<AccountId>,
) -> Option<(Row, Option<BlobRef>)> {
    let [present] = bytes.take()?;
    let kind = match present & 3 {
        0 => RowKind::Applied,
        1 => RowKind::Expired,
        2 => RowKind::Burnt,
        _ => return None,
    };
    let has = |bit: u8| present & bit != 0;
    let mut transfer = Transfer {
        timestamp,
        ..Transfer::default()
    };
    if kind != RowKind::Expired {
        transfer.id = TransferId(bytes.u128()?);
    }
    if kind == RowKind::Burnt {
        let row = Row {
            kind,
            transfer,
            debit: AccountNumber::NONE,
            credit: AccountNumber::NONE,
            debit_balances: Balances::default(),
            credit_balances: Balances::default(),
        };
        return Some((row, None));
    }
    transfer.flags = TransferFlags::from_bits_retain(bytes.small()?);
    transfer.code = Code(bytes.small()?);
    transfer.ledger = LedgerId(bytes.small()?);
    let debit = AccountNumber(bytes.small()?);
    let credit = AccountNumber(bytes.small()?);
    transfer.debit_account_id = ids(debit)?;
    transfer.credit_account_id = ids(credit)?;
    transfer.amount = Amount(bytes.varint()?);
    let debit_balances = take_balances(bytes)?;
    let credit_balances = take_balances(bytes)?;
    if has(PENDING) {
        transfer.pending_id = TransferId(bytes.u128()?);
    }
    if has(DATA_128) {
        transfer.user_data_128 = bytes.u128()?;
    }
    if has(DATA_64) {
        transfer.user_data_64 = bytes.varint64()?;
    }
    if has(DATA_32) {
        transfer.user_data_32 = bytes.small()?;
    }
    if has(TIMEOUT) {
        transfer.timeout = bytes.small()?;
    }
    let blob = if has(BLOB) { Some(take_blob(bytes)?) } else { None };
    Some((
        Row {
            kind,
            transfer,
            debit,
            credit,
            debit_balances,
            credit_balances,
        },
        blob,
    ))
}

/// Appends an account without its timestamp and balances.
pub(crate) fn put_account(out: &mut Vec<u8>, account: &Account, blob: Option<BlobRef>) {
    out.push(if blob.is_some() { BLOB } else { 0 });
    out.extend_from_slice(&account.id.0.to_le_bytes());
    put_varint(out, account.user_data_128);
    put_varint64(out, account.user_data_64);
    put_varint64(out, u64::from(account.user_data_32));
    put_varint64(out, u64::from(account.ledger.0));
    put_varint64(out, u64::from(account.code.0));
    put_varint64(out, u64::from(account.flags.bits()));
    if let Some(blob) = blob {
        put_blob(out, blob);
    }
}

/// Reads what [`put_account`] wrote.
pub(crate) fn take_account(
    bytes: &mut Bytes<'_>,
    timestamp: TimestampNs,
) -> Option<(Account, Option<BlobRef>)> {
    let [present] = bytes.take()?;
    let account = Account {
        id: AccountId(bytes.u128()?),
        balances: Balances::default(),
        user_data_128: bytes.varint()?,
        user_data_64: bytes.varint64()?,
        user_data_32: bytes.small()?,
        ledger: LedgerId(bytes.small()?),
        code: Code(bytes.small()?),
        flags: AccountFlags::from_bits_retain(bytes.small()?),
        timestamp,
    };
    let blob = match present {
        0 => None,
        BLOB => Some(take_blob(bytes)?),
        _ => return None,
    };
    Some((account, blob))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_survives(value: u128, small: u64, shift in 0_u32..128) {
            for value in [value >> shift, u128::from(small), u128::MAX, 0] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(Bytes(&out).varint(), Some(value));
                prop_assert_eq!(Bytes(&out).varint64(), u64::try_from(value).ok());
                prop_assert_eq!(Bytes(&out[..out.len() - 1]).varint(), None);
            }
        }
    }

    #[test]
    fn a_full_row_survives() {
        let balances = |n: u128| Balances {
            debits_pending: Amount(u128::MAX - n),
            debits_posted: Amount(n),
            credits_pending: Amount(n << 70),
            credits_posted: Amount(u128::MAX),
        };
        let row = Row {
            kind: RowKind::Applied,
            transfer: Transfer {
                id: TransferId(u128::MAX - 1),
                debit_account_id: AccountId(7),
                credit_account_id: AccountId(8),
                amount: Amount(u128::MAX),
                pending_id: TransferId(4),
                user_data_128: u128::MAX,
                user_data_64: u64::MAX,
                user_data_32: u32::MAX,
                timeout: u32::MAX,
                ledger: LedgerId(u32::MAX),
                code: Code(u16::MAX),
                flags: TransferFlags::from_bits_retain(u16::MAX),
                timestamp: TimestampNs(77),
            },
            debit: AccountNumber(7),
            credit: AccountNumber(8),
            debit_balances: balances(1),
            credit_balances: balances(2),
        };
        let blob = Some(BlobRef {
            offset: u64::MAX,
            length: 4096,
            check: 3,
        });
        let mut out = Vec::new();
        put_row(&mut out, &row, blob);
        let ids = |number: AccountNumber| Some(AccountId(u128::from(number.0)));
        assert_eq!(
            take_row(&mut Bytes(&out), TimestampNs(77), ids),
            Some((row, blob))
        );
        for length in 0..out.len() {
            assert_eq!(take_row(&mut Bytes(&out[..length]), TimestampNs(77), ids), None);
        }
    }
}
