//! Snapshots of the whole state (pure). Owns: their format, written and read.
//!
//! Must not: do I/O; whoever takes a snapshot writes the bytes, seals them and checks them.
//! A snapshot shares memory with the ledger: taking one copies no account, and the ledger copies a chunk of accounts
//! when it first writes to it afterwards. Invariant: equal states encode to equal bytes.
//!
//! Format, little endian: magic, version, last timestamp, last row's timestamp, rows; then counted accounts, open
//! pending transfers by rising timestamp, and descriptions by rising ledger. Ids of closed rows are not in it: after a
//! restore the archive answers for every row below [`Snapshot::rows`].

use crate::accounts::{MetadataTag, SharedAccounts};
use crate::cow::SharedChunks;
use crate::hash::IdHasher;
use crate::pending::Open;
use crate::recent::Recent;
use crate::{
    Account, AccountFlags, AccountId, AccountNumber, Amount, Balances, Code, Ledger, LedgerDescription,
    LedgerId, RowNumber, TimestampNs, Transfer, TransferFlags, TransferId,
};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"SHLG";
const VERSION: u32 = 1;

/// The state at one moment. Cheap to clone, may be sent to another thread.
#[derive(Clone, Debug)]
pub struct Snapshot {
    accounts: SharedAccounts,
    pendings: SharedChunks<Open>,
    descriptions: Arc<BTreeMap<LedgerId, LedgerDescription>>,
    last_timestamp: TimestampNs,
    last_row_timestamp: TimestampNs,
    rows: RowNumber,
}

/// Bytes that are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// It does not begin like one.
    #[error("LGR-0020: this is no snapshot of a ledger")]
    Magic,
    /// Written by a version of the format that is not known here.
    #[error("LGR-0021: snapshot format {0} is not known")]
    Version(u32),
    /// It ends too early, or goes on beyond its end.
    #[error("LGR-0022: the snapshot's length is wrong")]
    Length,
    /// Something in it cannot be.
    #[error("LGR-0023: the snapshot contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Ledger {
    /// The state as it stands. Takes time in proportion to the number of chunks (64 accounts each), not of accounts.
    #[must_use]
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            accounts: self.accounts.share(),
            pendings: self.pendings.share(),
            descriptions: Arc::clone(&self.descriptions),
            last_timestamp: self.last_timestamp,
            last_row_timestamp: self.last_row_timestamp,
            rows: self.rows(),
        }
    }

    /// The ledger of a snapshot's bytes. See [`Ledger::with_hash_seed`] for where clients choose ids.
    ///
    /// # Errors
    /// [`RestoreError`] for bytes that [`Snapshot::encode`] did not write.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        Self::restore_with_hash_seed(bytes, 0)
    }

    /// [`Ledger::restore`] with a secret for its tables.
    ///
    /// # Errors
    /// As [`Ledger::restore`].
    pub fn restore_with_hash_seed(bytes: &[u8], seed: u64) -> Result<Self, RestoreError> {
        let mut input = Input(bytes);
        if input.array::<4>()? != MAGIC {
            return Err(RestoreError::Magic);
        }
        match input.u32()? {
            VERSION => {}
            other => return Err(RestoreError::Version(other)),
        }
        let mut ledger = Self::with_hash_seed(seed);
        ledger.last_timestamp = TimestampNs(input.u64()?);
        ledger.last_row_timestamp = TimestampNs(input.u64()?);
        ledger.recent = Recent::starting_at(RowNumber(input.u64()?), IdHasher::new(seed));
        for _ in 0..input.u32()? {
            restore_account(&mut ledger, &mut input)?;
        }
        for _ in 0..input.u64()? {
            restore_pending(&mut ledger, &mut input)?;
        }
        for _ in 0..input.u32()? {
            restore_description(&mut ledger, &mut input)?;
        }
        if !input.0.is_empty() {
            return Err(RestoreError::Length);
        }
        let latest = ledger.accounts.last_timestamp().max(ledger.last_row_timestamp);
        contradiction(
            latest > ledger.last_timestamp,
            "an event is later than the last one",
        )?;
        Ok(ledger)
    }
}

fn contradiction(found: bool, what: &'static str) -> Result<(), RestoreError> {
    if found {
        Err(RestoreError::Contradiction(what))
    } else {
        Ok(())
    }
}

impl Snapshot {
    /// Writes it to where it can be restored from.
    ///
    /// # Errors
    /// Whatever `out` answers; a `Vec<u8>` never fails.
    pub fn encode(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&self.last_timestamp.0.to_le_bytes())?;
        out.write_all(&self.last_row_timestamp.0.to_le_bytes())?;
        out.write_all(&self.rows.0.to_le_bytes())?;
        out.write_all(&self.accounts.len().to_le_bytes())?;
        for (account, created_closed, tag) in self.accounts.iter_all() {
            write_account(out, account)?;
            out.write_all(&[u8::from(created_closed), tag.map_or(0, |tag| tag.len + 1)])?;
            if let Some(tag) = tag {
                out.write_all(&tag.bytes[..usize::from(tag.len)])?;
            }
        }
        // Slots depend on the past; the order by time does not.
        let mut open: Vec<&Open> = self
            .pendings
            .iter()
            .filter(|open| open.transfer.id.0 != 0)
            .collect();
        open.sort_unstable_by_key(|open| open.transfer.timestamp);
        out.write_all(&(open.len() as u64).to_le_bytes())?;
        for open in open {
            write_transfer(out, &open.transfer)?;
            out.write_all(&open.debit.0.to_le_bytes())?;
            out.write_all(&open.credit.0.to_le_bytes())?;
        }
        out.write_all(&(self.descriptions.len() as u32).to_le_bytes())?;
        for description in self.descriptions.values() {
            out.write_all(&description.ledger.0.to_le_bytes())?;
            // The rules bound both texts far below 256 bytes.
            out.write_all(&[
                description.scale,
                description.name.len() as u8,
                description.currency.len() as u8,
            ])?;
            out.write_all(description.name.as_bytes())?;
            out.write_all(description.currency.as_bytes())?;
        }
        Ok(())
    }

    /// All accounts by number, as they stood.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// How many accounts there were.
    #[must_use]
    pub fn accounts_len(&self) -> u32 {
        self.accounts.len()
    }

    /// The pending transfers that were open, in no particular order.
    pub fn open_pendings(&self) -> impl Iterator<Item = &Transfer> {
        self.pendings
            .iter()
            .map(|open| &open.transfer)
            .filter(|transfer| transfer.id.0 != 0)
    }

    /// The ledgers that were described, by rising id.
    pub fn descriptions(&self) -> impl Iterator<Item = &LedgerDescription> {
        self.descriptions.values()
    }

    /// A ledger's description, if it has one.
    #[must_use]
    pub fn description(&self, ledger: LedgerId) -> Option<&LedgerDescription> {
        self.descriptions.get(&ledger)
    }

    /// Of the last event of any kind.
    #[must_use]
    pub fn last_timestamp(&self) -> TimestampNs {
        self.last_timestamp
    }

    /// Of the last transfer or expiry.
    #[must_use]
    pub fn last_row_timestamp(&self) -> TimestampNs {
        self.last_row_timestamp
    }

    /// The number of the next row.
    #[must_use]
    pub fn rows(&self) -> RowNumber {
        self.rows
    }
}

fn write_account(out: &mut impl Write, account: &Account) -> io::Result<()> {
    let balances = &account.balances;
    let wide = [
        account.id.0,
        balances.debits_pending.0,
        balances.debits_posted.0,
        balances.credits_pending.0,
        balances.credits_posted.0,
        account.user_data_128,
    ];
    for value in wide {
        out.write_all(&value.to_le_bytes())?;
    }
    out.write_all(&account.user_data_64.to_le_bytes())?;
    out.write_all(&account.user_data_32.to_le_bytes())?;
    out.write_all(&account.ledger.0.to_le_bytes())?;
    out.write_all(&account.code.0.to_le_bytes())?;
    out.write_all(&account.flags.bits().to_le_bytes())?;
    out.write_all(&account.timestamp.0.to_le_bytes())
}

fn write_transfer(out: &mut impl Write, transfer: &Transfer) -> io::Result<()> {
    let wide = [
        transfer.id.0,
        transfer.debit_account_id.0,
        transfer.credit_account_id.0,
        transfer.amount.0,
        transfer.user_data_128,
    ];
    for value in wide {
        out.write_all(&value.to_le_bytes())?;
    }
    out.write_all(&transfer.user_data_64.to_le_bytes())?;
    out.write_all(&transfer.user_data_32.to_le_bytes())?;
    out.write_all(&transfer.timeout.to_le_bytes())?;
    out.write_all(&transfer.ledger.0.to_le_bytes())?;
    out.write_all(&transfer.code.0.to_le_bytes())?;
    out.write_all(&transfer.flags.bits().to_le_bytes())?;
    out.write_all(&transfer.timestamp.0.to_le_bytes())
}

/// What is left of the bytes. Reads in struct literals below are in the order of the fields as written.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], RestoreError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(RestoreError::Length)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(RestoreError::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, RestoreError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, RestoreError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, RestoreError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, RestoreError> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, RestoreError> {
        self.array().map(u128::from_le_bytes)
    }

    fn text(&mut self, len: u8) -> Result<String, RestoreError> {
        let bytes = self.bytes(usize::from(len))?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| RestoreError::Contradiction("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }
}

fn restore_account(ledger: &mut Ledger, input: &mut Input<'_>) -> Result<(), RestoreError> {
    let account = Account {
        id: AccountId(input.u128()?),
        balances: Balances {
            debits_pending: Amount(input.u128()?),
            debits_posted: Amount(input.u128()?),
            credits_pending: Amount(input.u128()?),
            credits_posted: Amount(input.u128()?),
        },
        user_data_128: input.u128()?,
        user_data_64: input.u64()?,
        user_data_32: input.u32()?,
        ledger: LedgerId(input.u32()?),
        code: Code(input.u16()?),
        flags: AccountFlags::from_bits_retain(input.u16()?),
        timestamp: TimestampNs(input.u64()?),
    };
    let created_closed = input.u8()?;
    contradiction(created_closed > 1, "a flag is neither 0 nor 1")?;
    let tag = match input.u8()?.checked_sub(1) {
        None => None,
        Some(len) => {
            contradiction(usize::from(len) > 32, "an account's metadata tag is too long")?;
            Some(MetadataTag::of(input.bytes(usize::from(len))?))
        }
    };
    contradiction(
        account.timestamp <= ledger.accounts.last_timestamp(),
        "accounts do not rise in time",
    )?;
    contradiction(
        ledger.accounts.find(account.id).is_some(),
        "an account is there twice",
    )?;
    ledger.accounts.push(account, created_closed == 1, tag);
    Ok(())
}

fn restore_pending(ledger: &mut Ledger, input: &mut Input<'_>) -> Result<(), RestoreError> {
    let transfer = Transfer {
        id: TransferId(input.u128()?),
        debit_account_id: AccountId(input.u128()?),
        credit_account_id: AccountId(input.u128()?),
        amount: Amount(input.u128()?),
        pending_id: TransferId(0),
        user_data_128: input.u128()?,
        user_data_64: input.u64()?,
        user_data_32: input.u32()?,
        timeout: input.u32()?,
        ledger: LedgerId(input.u32()?),
        code: Code(input.u16()?),
        flags: TransferFlags::from_bits_retain(input.u16()?),
        timestamp: TimestampNs(input.u64()?),
    };
    let (debit, credit) = (AccountNumber(input.u32()?), AccountNumber(input.u32()?));
    let number = |id| ledger.accounts.find(id);
    contradiction(
        number(transfer.debit_account_id) != Some(debit),
        "a pending transfer's debit account",
    )?;
    contradiction(
        number(transfer.credit_account_id) != Some(credit),
        "a pending transfer's credit account",
    )?;
    contradiction(
        transfer.id.0 == 0 || ledger.pendings.get(transfer.id).is_some(),
        "a pending transfer's id",
    )?;
    let due = crate::pending::due_at(transfer.timestamp, transfer.timeout);
    contradiction(due.is_none(), "a pending transfer's timeout")?;
    ledger.pendings.insert(Open {
        transfer,
        debit,
        credit,
    });
    Ok(())
}

fn restore_description(ledger: &mut Ledger, input: &mut Input<'_>) -> Result<(), RestoreError> {
    let id = LedgerId(input.u32()?);
    let (scale, name, currency) = (input.u8()?, input.u8()?, input.u8()?);
    let description = LedgerDescription {
        ledger: id,
        scale,
        name: input.text(name)?,
        currency: input.text(currency)?,
    };
    let before = Arc::make_mut(&mut ledger.descriptions).insert(id, description);
    contradiction(before.is_some(), "a ledger is described twice")
}
