//! Entries to bytes (pure). Hot: every event of the product passes here once.

use super::{account, transfer};
use ledger::{Account, Sealed, Transfer};

/// Where encoded bytes go.
pub(crate) trait Target {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a number, seven bits a byte, the lowest first, in as few bytes as it takes.
    fn put_varint(&mut self, mut value: u128) {
        let mut bytes = [0; 19];
        let mut length = 0;
        while value >= 0x80 {
            bytes[length] = (value & 0x7f) as u8 | 0x80;
            value >>= 7;
            length += 1;
        }
        bytes[length] = value as u8;
        self.put(&bytes[..=length]);
    }

    /// Appends the length and the bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u128);
        self.put(bytes);
    }
}

impl Target for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Holds one event while it is encoded, so that the growing buffer is touched once an event, not once a field.
/// An event without metadata has at most 178 bytes.
pub(crate) struct Scratch {
    bytes: [u8; 192],
    length: usize,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; 192],
            length: 0,
        }
    }

    #[inline]
    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.length..self.length + N].copy_from_slice(&bytes);
        self.length += N;
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.length] = (value & 0x7f) as u8 | 0x80;
            value >>= 7;
            self.length += 1;
        }
        self.bytes[self.length] = value as u8;
        self.length += 1;
    }

    #[inline]
    fn varint_128(&mut self, mut value: u128) {
        while value > u128::from(u64::MAX) {
            self.bytes[self.length] = (value & 0x7f) as u8 | 0x80;
            value >>= 7;
            self.length += 1;
        }
        self.varint(value as u64);
    }

    /// Begins an event; room for the bitmap of its fields is left in front.
    #[inline]
    fn begin(&mut self) {
        self.length = 2;
    }

    #[inline]
    fn finish(&mut self, fields: u16, metadata: Option<&Sealed>, out: &mut Vec<u8>) {
        self.bytes[..2].copy_from_slice(&fields.to_le_bytes());
        out.extend_from_slice(&self.bytes[..self.length]);
        if let Some(sealed) = metadata {
            out.put_bytes(sealed);
        }
    }
}

/// Appends one field when it is not zero and notes that it is there.
macro_rules! field {
    ($fields:ident, $scratch:ident, $bit:expr, $method:ident($value:expr), $zero:expr) => {
        if !$zero {
            $fields |= $bit;
            $scratch.$method($value);
        }
    };
}

/// Appends a transfer.
#[inline]
pub(crate) fn put_transfer(
    scratch: &mut Scratch,
    value: &Transfer,
    metadata: Option<&Sealed>,
    out: &mut Vec<u8>,
) {
    let mut fields = if metadata.is_some() { transfer::METADATA } else { 0 };
    scratch.begin();
    let t = value;
    field!(
        fields,
        scratch,
        transfer::ID,
        fixed(t.id.0.to_le_bytes()),
        t.id.0 == 0
    );
    let (debit, credit) = (t.debit_account_id.0, t.credit_account_id.0);
    field!(
        fields,
        scratch,
        transfer::DEBIT,
        fixed(debit.to_le_bytes()),
        debit == 0
    );
    field!(
        fields,
        scratch,
        transfer::CREDIT,
        fixed(credit.to_le_bytes()),
        credit == 0
    );
    field!(
        fields,
        scratch,
        transfer::AMOUNT,
        varint_128(t.amount.0),
        t.amount.0 == 0
    );
    let pending = t.pending_id.0;
    field!(
        fields,
        scratch,
        transfer::PENDING_ID,
        fixed(pending.to_le_bytes()),
        pending == 0
    );
    let data = t.user_data_128;
    field!(
        fields,
        scratch,
        transfer::USER_DATA_128,
        fixed(data.to_le_bytes()),
        data == 0
    );
    field!(
        fields,
        scratch,
        transfer::USER_DATA_64,
        varint(t.user_data_64),
        t.user_data_64 == 0
    );
    field!(
        fields,
        scratch,
        transfer::USER_DATA_32,
        varint(t.user_data_32.into()),
        t.user_data_32 == 0
    );
    field!(
        fields,
        scratch,
        transfer::TIMEOUT,
        varint(t.timeout.into()),
        t.timeout == 0
    );
    field!(
        fields,
        scratch,
        transfer::LEDGER,
        varint(t.ledger.0.into()),
        t.ledger.0 == 0
    );
    field!(
        fields,
        scratch,
        transfer::CODE,
        varint(t.code.0.into()),
        t.code.0 == 0
    );
    let flags = t.flags.bits();
    field!(fields, scratch, transfer::FLAGS, varint(flags.into()), flags == 0);
    let time = t.timestamp.0;
    field!(
        fields,
        scratch,
        transfer::TIMESTAMP,
        fixed(time.to_le_bytes()),
        time == 0
    );
    scratch.finish(fields, metadata, out);
}

/// Appends an account.
pub(crate) fn put_account(
    scratch: &mut Scratch,
    value: &Account,
    metadata: Option<&Sealed>,
    out: &mut Vec<u8>,
) {
    let mut fields = if metadata.is_some() { account::METADATA } else { 0 };
    scratch.begin();
    let a = value;
    let b = &a.balances;
    field!(
        fields,
        scratch,
        account::ID,
        fixed(a.id.0.to_le_bytes()),
        a.id.0 == 0
    );
    let (pending, posted) = (b.debits_pending.0, b.debits_posted.0);
    field!(
        fields,
        scratch,
        account::DEBITS_PENDING,
        varint_128(pending),
        pending == 0
    );
    field!(
        fields,
        scratch,
        account::DEBITS_POSTED,
        varint_128(posted),
        posted == 0
    );
    let (pending, posted) = (b.credits_pending.0, b.credits_posted.0);
    field!(
        fields,
        scratch,
        account::CREDITS_PENDING,
        varint_128(pending),
        pending == 0
    );
    field!(
        fields,
        scratch,
        account::CREDITS_POSTED,
        varint_128(posted),
        posted == 0
    );
    let data = a.user_data_128;
    field!(
        fields,
        scratch,
        account::USER_DATA_128,
        fixed(data.to_le_bytes()),
        data == 0
    );
    field!(
        fields,
        scratch,
        account::USER_DATA_64,
        varint(a.user_data_64),
        a.user_data_64 == 0
    );
    field!(
        fields,
        scratch,
        account::USER_DATA_32,
        varint(a.user_data_32.into()),
        a.user_data_32 == 0
    );
    field!(
        fields,
        scratch,
        account::LEDGER,
        varint(a.ledger.0.into()),
        a.ledger.0 == 0
    );
    field!(
        fields,
        scratch,
        account::CODE,
        varint(a.code.0.into()),
        a.code.0 == 0
    );
    let flags = a.flags.bits();
    field!(fields, scratch, account::FLAGS, varint(flags.into()), flags == 0);
    let time = a.timestamp.0;
    field!(
        fields,
        scratch,
        account::TIMESTAMP,
        fixed(time.to_le_bytes()),
        time == 0
    );
    scratch.finish(fields, metadata, out);
}

/// Appends the results of a group: how many in a row are equal, and their code, until the group is covered.
pub(crate) fn put_code(codes: impl Iterator<Item = u16>, out: &mut Vec<u8>) {
    let mut run: Option<(u16, u8)> = None;
    for code in codes {
        match &mut run {
            Some((last, length)) if *last == code => *length += 1,
            _ => {
                put_run(run, out);
                run = Some((code, 1));
            }
        }
    }
    put_run(run, out);
}

fn put_run(run: Option<(u16, u8)>, out: &mut Vec<u8>) {
    if let Some((code, length)) = run {
        out.put_varint(length.into());
        out.put_varint(code.into());
    }
}
