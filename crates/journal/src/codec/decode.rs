//! Bytes to entries (pure). Strict: what the encoder would not have written is refused.
//! Must not: allocate more than the input justifies, or panic, whatever the bytes.

use super::{GROUP_EVENTS, account, kind, transfer};
use crate::merkle::Leaves;
use crate::{Entry, Results};
use ledger::{
    Account, AccountFlags, AccountId, ActorId, Amount, Balances, Code, Command, CommandBody,
    CreateAccountResult, CreateTransferResult, DescribeLedgerResult, EVENTS_PER_REQUEST_MAX, EventMetadata,
    Events, LedgerDescription, LedgerId, Sealed, TimestampNs, Transfer, TransferFlags, TransferId,
};

/// A body that is not a canonical encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset} of the body: {problem}")]
pub struct DecodeError {
    /// Where in the decrypted body.
    pub offset: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It ends too early.
    #[error("it ends too early")]
    End,
    /// Bytes follow the last entry.
    #[error("bytes follow the last entry")]
    Trailing,
    /// A number is longer than it needs to be, or too large for its field.
    #[error("a number is not in its shortest form or too large")]
    Number,
    /// A field is given although it is zero.
    #[error("a field is given although it is zero")]
    Zero,
    /// A kind of entry that this version does not know.
    #[error("kind of entry {0} is not known to this version")]
    Kind(u8),
    /// A field that this version does not know.
    #[error("fields {0:#06x} are not known to this version")]
    Fields(u16),
    /// A result code that this version does not know.
    #[error("result code {0} is not known to this version")]
    Result(u16),
    /// More events than a request may hold, or none.
    #[error("a count is out of range")]
    Count,
    /// Runs of results are not as long as they could be, or longer than the group.
    #[error("a run of results is not canonical")]
    Run,
    /// Times do not rise.
    #[error("the time of an entry is not after the one before")]
    Time,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    Text,
    /// The header counts differently.
    #[error("the header counts {header} events, the body holds {body}")]
    Events {
        /// As the header says.
        header: u32,
        /// As counted.
        body: u32,
    },
}

/// Reads the entries of a body whose block begins at `first`, and where its leaves end.
pub(crate) fn decode(
    body: &[u8],
    entries: u32,
    events: u32,
    first: TimestampNs,
) -> Result<(Vec<Entry>, Leaves), DecodeError> {
    let mut reader = Reader {
        bytes: body,
        position: 0,
        leaves: Leaves::default(),
        events: 0,
    };
    let found = reader.entries(entries, first).map_err(|problem| DecodeError {
        offset: reader.position,
        problem,
    })?;
    let problem = if reader.position != body.len() {
        Problem::Trailing
    } else if reader.events != events {
        Problem::Events {
            header: events,
            body: reader.events,
        }
    } else {
        return Ok((found, reader.leaves));
    };
    Err(DecodeError {
        offset: reader.position,
        problem,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    leaves: Leaves,
    events: u32,
}

/// The least that an entry (kind, time) and an event (bitmap) take: bounds what a count can make us reserve.
const ENTRY_BYTES_MIN: usize = 2;
const EVENT_BYTES_MIN: usize = 2;

impl Reader<'_> {
    fn entries(&mut self, count: u32, first: TimestampNs) -> Result<Vec<Entry>, Problem> {
        if count == 0 {
            return Err(Problem::Count);
        }
        let mut entries = Vec::with_capacity((count as usize).min(self.bytes.len() / ENTRY_BYTES_MIN));
        let mut last = None;
        for _ in 0..count {
            let entry = self.entry(first)?;
            // The first entry's time is the block's own.
            let rises = last.map_or(entry.timestamp == first, |last| entry.timestamp > last);
            if !rises {
                return Err(Problem::Time);
            }
            last = Some(entry.timestamp);
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, first: TimestampNs) -> Result<Entry, Problem> {
        let start = self.position;
        let [tagged] = self.fixed()?;
        let kind = tagged & !kind::ACTOR;
        let actor = if tagged & kind::ACTOR == 0 {
            0
        } else {
            self.present_128()?
        };
        let delta = self.varint(u64::MAX)?;
        let timestamp = TimestampNs(first.0.checked_add(delta).ok_or(Problem::Time)?);
        let (body, results) = match kind {
            kind::BEGIN_EPOCH => {
                self.leaves.group(start, 0);
                (CommandBody::BeginEpoch, Results::None)
            }
            kind::CREATE_ACCOUNTS => {
                let (events, results) = self.groups(start, Self::account, CreateAccountResult::from_code)?;
                (CommandBody::CreateAccounts(events), Results::Accounts(results))
            }
            kind::CREATE_TRANSFERS => {
                let (events, results) =
                    self.groups(start, Self::transfer, CreateTransferResult::from_code)?;
                (CommandBody::CreateTransfers(events), Results::Transfers(results))
            }
            kind::EXPIRE_PENDING => self.expired(start)?,
            kind::DESCRIBE_LEDGER => self.described(start)?,
            _ => return Err(Problem::Kind(kind)),
        };
        let command = Command {
            actor: ActorId(actor),
            body,
        };
        Ok(Entry {
            timestamp,
            command,
            results,
        })
    }

    fn groups<E, R: Copy>(
        &mut self,
        mut start: usize,
        event: impl Fn(&mut Self) -> Result<(E, Option<Sealed>), Problem>,
        from_code: impl Fn(u16) -> Option<R>,
    ) -> Result<(Events<E>, Vec<R>), Problem> {
        let count = self
            .varint(EVENTS_PER_REQUEST_MAX as u64)
            .or(Err(Problem::Count))? as usize;
        if count == 0 {
            return Err(Problem::Count);
        }
        let capacity = count.min(self.remaining() / EVENT_BYTES_MIN);
        let mut events = Vec::with_capacity(capacity);
        let mut metadata = Vec::new();
        let mut results = Vec::with_capacity(capacity);
        while events.len() < count {
            let group = (count - events.len()).min(GROUP_EVENTS);
            for _ in 0..group {
                let index = events.len() as u32;
                let (one, sealed) = event(self)?;
                events.push(one);
                metadata.extend(sealed.map(|sealed| EventMetadata { index, sealed }));
            }
            self.results(group, &from_code, &mut results)?;
            self.leaves.group(start, group);
            start = self.position;
        }
        self.count(count)?;
        Ok((Events { events, metadata }, results))
    }

    fn results<R: Copy>(
        &mut self,
        group: usize,
        from_code: &impl Fn(u16) -> Option<R>,
        results: &mut Vec<R>,
    ) -> Result<(), Problem> {
        let mut left = group;
        let mut last = None;
        while left > 0 {
            let run = self.varint(left as u64).or(Err(Problem::Run))? as usize;
            let code = self.varint(u16::MAX.into())? as u16;
            if run == 0 || last == Some(code) {
                return Err(Problem::Run);
            }
            let result = from_code(code).ok_or(Problem::Result(code))?;
            results.resize(results.len() + run, result);
            last = Some(code);
            left -= run;
        }
        Ok(())
    }

    fn expired(&mut self, mut start: usize) -> Result<(CommandBody, Results), Problem> {
        let limit = self.varint(u32::MAX.into())? as u32;
        let count = self.varint(limit.into()).or(Err(Problem::Count))? as usize;
        if count > self.remaining() / 16 {
            return Err(Problem::End);
        }
        let mut ids = Vec::with_capacity(count);
        if count == 0 {
            self.leaves.group(start, 0);
        }
        while ids.len() < count {
            let group = (count - ids.len()).min(GROUP_EVENTS);
            for _ in 0..group {
                ids.push(TransferId(u128::from_le_bytes(self.fixed()?)));
            }
            self.leaves.group(start, group);
            start = self.position;
        }
        self.count(count)?;
        Ok((CommandBody::ExpirePending { limit }, Results::Expired(ids)))
    }

    fn described(&mut self, start: usize) -> Result<(CommandBody, Results), Problem> {
        let description = LedgerDescription {
            ledger: LedgerId(self.varint(u32::MAX.into())? as u32),
            name: self.text()?,
            currency: self.text()?,
            scale: self.fixed::<1>()?[0],
        };
        let code = self.varint(u16::MAX.into())? as u16;
        let result = DescribeLedgerResult::from_code(code).ok_or(Problem::Result(code))?;
        self.leaves.group(start, 1);
        self.count(1)?;
        Ok((
            CommandBody::DescribeLedger(description),
            Results::Described(result),
        ))
    }

    fn transfer(&mut self) -> Result<(Transfer, Option<Sealed>), Problem> {
        let fields = self.fields(transfer::KNOWN)?;
        let has = |bit| fields & bit != 0;
        let value = Transfer {
            id: TransferId(self.id(has(transfer::ID))?),
            debit_account_id: AccountId(self.id(has(transfer::DEBIT))?),
            credit_account_id: AccountId(self.id(has(transfer::CREDIT))?),
            amount: self.amount(has(transfer::AMOUNT))?,
            pending_id: TransferId(self.id(has(transfer::PENDING_ID))?),
            user_data_128: self.id(has(transfer::USER_DATA_128))?,
            user_data_64: self.number(has(transfer::USER_DATA_64), u64::MAX)?,
            user_data_32: self.number_32(has(transfer::USER_DATA_32))?,
            timeout: self.number_32(has(transfer::TIMEOUT))?,
            ledger: LedgerId(self.number_32(has(transfer::LEDGER))?),
            code: Code(self.number_16(has(transfer::CODE))?),
            flags: TransferFlags::from_bits_retain(self.number_16(has(transfer::FLAGS))?),
            timestamp: self.time(has(transfer::TIMESTAMP))?,
        };
        Ok((value, self.sealed(has(transfer::METADATA))?))
    }

    fn account(&mut self) -> Result<(Account, Option<Sealed>), Problem> {
        let fields = self.fields(account::KNOWN)?;
        let has = |bit| fields & bit != 0;
        let value = Account {
            id: AccountId(self.id(has(account::ID))?),
            balances: Balances {
                debits_pending: self.amount(has(account::DEBITS_PENDING))?,
                debits_posted: self.amount(has(account::DEBITS_POSTED))?,
                credits_pending: self.amount(has(account::CREDITS_PENDING))?,
                credits_posted: self.amount(has(account::CREDITS_POSTED))?,
            },
            user_data_128: self.id(has(account::USER_DATA_128))?,
            user_data_64: self.number(has(account::USER_DATA_64), u64::MAX)?,
            user_data_32: self.number_32(has(account::USER_DATA_32))?,
            ledger: LedgerId(self.number_32(has(account::LEDGER))?),
            code: Code(self.number_16(has(account::CODE))?),
            flags: AccountFlags::from_bits_retain(self.number_16(has(account::FLAGS))?),
            timestamp: self.time(has(account::TIMESTAMP))?,
        };
        Ok((value, self.sealed(has(account::METADATA))?))
    }

    fn count(&mut self, events: usize) -> Result<(), Problem> {
        let events = u32::try_from(events).or(Err(Problem::Count))?;
        self.events = self.events.checked_add(events).ok_or(Problem::Count)?;
        Ok(())
    }

    fn fields(&mut self, known: u16) -> Result<u16, Problem> {
        let fields = u16::from_le_bytes(self.fixed()?);
        if fields & !known != 0 {
            return Err(Problem::Fields(fields & !known));
        }
        Ok(fields)
    }

    #[inline]
    fn id(&mut self, present: bool) -> Result<u128, Problem> {
        if present { self.present_128() } else { Ok(0) }
    }

    #[inline]
    fn present_128(&mut self) -> Result<u128, Problem> {
        match u128::from_le_bytes(self.fixed()?) {
            0 => Err(Problem::Zero),
            value => Ok(value),
        }
    }

    #[inline]
    fn number(&mut self, present: bool, max: u64) -> Result<u64, Problem> {
        if !present {
            return Ok(0);
        }
        match self.varint(max)? {
            0 => Err(Problem::Zero),
            value => Ok(value),
        }
    }

    fn number_32(&mut self, present: bool) -> Result<u32, Problem> {
        Ok(self.number(present, u32::MAX.into())? as u32)
    }

    fn number_16(&mut self, present: bool) -> Result<u16, Problem> {
        Ok(self.number(present, u16::MAX.into())? as u16)
    }

    fn amount(&mut self, present: bool) -> Result<Amount, Problem> {
        if !present {
            return Ok(Amount(0));
        }
        match self.varint_128()? {
            0 => Err(Problem::Zero),
            value => Ok(Amount(value)),
        }
    }

    fn time(&mut self, present: bool) -> Result<TimestampNs, Problem> {
        if !present {
            return Ok(TimestampNs(0));
        }
        match u64::from_le_bytes(self.fixed()?) {
            0 => Err(Problem::Zero),
            value => Ok(TimestampNs(value)),
        }
    }

    fn sealed(&mut self, present: bool) -> Result<Option<Sealed>, Problem> {
        if !present {
            return Ok(None);
        }
        Ok(Some(self.counted()?.into()))
    }

    fn text(&mut self) -> Result<String, Problem> {
        let bytes = self.counted()?;
        Ok(std::str::from_utf8(bytes).or(Err(Problem::Text))?.to_owned())
    }

    fn counted(&mut self) -> Result<&[u8], Problem> {
        let length = self.varint(u64::MAX)?;
        if length > self.remaining() as u64 {
            return Err(Problem::End);
        }
        let start = self.position;
        self.position += length as usize;
        Ok(&self.bytes[start..self.position])
    }

    #[inline]
    fn varint(&mut self, max: u64) -> Result<u64, Problem> {
        // One byte is by far the most common.
        if let Some(&byte) = self.bytes.get(self.position)
            && byte < 0x80
            && u64::from(byte) <= max
        {
            self.position += 1;
            return Ok(byte.into());
        }
        let value = self.varint_128()?;
        u64::try_from(value)
            .ok()
            .filter(|&value| value <= max)
            .ok_or(Problem::Number)
    }

    fn varint_128(&mut self) -> Result<u128, Problem> {
        let mut value = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let [byte] = self.fixed()?;
            let bits = u128::from(byte & 0x7f);
            // Bits that fall off the end, or a last byte that adds nothing, have a shorter form or none.
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Problem::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Problem::Number)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.bytes[self.position..].first_chunk().ok_or(Problem::End)?;
        self.position += N;
        Ok(*bytes)
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }
}
