//! Conversion between the gRPC types and the ledger's (pure). Used by server and client alike.
//!
//! The hot path is `transfer_from_wire` and `result_to_wire`: no allocation, no branch beyond range checks.

use crate::v1;
use ledger::{
    Account, AccountFlags, AccountId, AccountReply, Amount, Balances, Code, CreateAccountResult,
    CreateTransferResult, LedgerDescription, LedgerId, TimestampNs, Transfer, TransferFlags, TransferId,
    TransferReply,
};

/// A number on the wire that the ledger's type cannot hold, or a code that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct ConvertError {
    /// Name of the protobuf field.
    pub field: &'static str,
    /// What is wrong with it.
    pub detail: &'static str,
}

const fn error(field: &'static str, detail: &'static str) -> ConvertError {
    ConvertError { field, detail }
}

const fn wide(high: u64, low: u64) -> u128 {
    (high as u128) << 64 | low as u128
}

#[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn high(number: u128) -> u64 {
    (number >> 64) as u64
}

#[allow(clippy::cast_possible_truncation, reason = "the halves are meant")]
const fn low(number: u128) -> u64 {
    number as u64
}

fn small(number: u32, field: &'static str) -> Result<u16, ConvertError> {
    u16::try_from(number).map_err(|_| error(field, "must be at most 65535"))
}

impl From<u128> for v1::Uint128 {
    fn from(number: u128) -> Self {
        Self {
            high: high(number),
            low: low(number),
        }
    }
}

impl From<v1::Uint128> for u128 {
    fn from(number: v1::Uint128) -> Self {
        wide(number.high, number.low)
    }
}

/// An absent number is 0, as everywhere in protobuf.
#[must_use]
pub fn number(number: Option<v1::Uint128>) -> u128 {
    number.map_or(0, u128::from)
}

/// A transfer for the wire, without metadata.
#[must_use]
pub fn transfer_to_wire(transfer: &Transfer) -> v1::Transfer {
    v1::Transfer {
        id: low(transfer.id.0),
        id_high: high(transfer.id.0),
        debit_account_id: low(transfer.debit_account_id.0),
        debit_account_id_high: high(transfer.debit_account_id.0),
        credit_account_id: low(transfer.credit_account_id.0),
        credit_account_id_high: high(transfer.credit_account_id.0),
        amount: low(transfer.amount.0),
        amount_high: high(transfer.amount.0),
        ledger: transfer.ledger.0,
        code: u32::from(transfer.code.0),
        flags: u32::from(transfer.flags.bits()),
        timeout: transfer.timeout,
        pending_id: low(transfer.pending_id.0),
        pending_id_high: high(transfer.pending_id.0),
        timestamp: transfer.timestamp.0,
        metadata_json: String::new(),
        user_data_128: low(transfer.user_data_128),
        user_data_128_high: high(transfer.user_data_128),
        user_data_64: transfer.user_data_64,
        user_data_32: transfer.user_data_32,
    }
}

/// A transfer from the wire; metadata is left to the caller.
///
/// # Errors
/// [`ConvertError`] when code or flags are beyond 16 bits.
#[inline]
pub fn transfer_from_wire(wire: &v1::Transfer) -> Result<Transfer, ConvertError> {
    Ok(Transfer {
        id: TransferId(wide(wire.id_high, wire.id)),
        debit_account_id: AccountId(wide(wire.debit_account_id_high, wire.debit_account_id)),
        credit_account_id: AccountId(wide(wire.credit_account_id_high, wire.credit_account_id)),
        amount: Amount(wide(wire.amount_high, wire.amount)),
        pending_id: TransferId(wide(wire.pending_id_high, wire.pending_id)),
        user_data_128: wide(wire.user_data_128_high, wire.user_data_128),
        user_data_64: wire.user_data_64,
        user_data_32: wire.user_data_32,
        timeout: wire.timeout,
        ledger: LedgerId(wire.ledger),
        code: Code(small(wire.code, "code")?),
        flags: TransferFlags::from_bits_retain(small(wire.flags, "flags")?),
        timestamp: TimestampNs(wire.timestamp),
    })
}

/// Totals for the wire.
#[must_use]
pub fn balances_to_wire(balances: &Balances) -> v1::Balances {
    v1::Balances {
        debits_pending: low(balances.debits_pending.0),
        debits_posted: low(balances.debits_posted.0),
        credits_pending: low(balances.credits_pending.0),
        credits_posted: low(balances.credits_posted.0),
        debits_pending_high: high(balances.debits_pending.0),
        debits_posted_high: high(balances.debits_posted.0),
        credits_pending_high: high(balances.credits_pending.0),
        credits_posted_high: high(balances.credits_posted.0),
    }
}

/// Totals from the wire; absent ones are zero.
#[must_use]
pub fn balances_from_wire(wire: Option<&v1::Balances>) -> Balances {
    wire.map_or_else(Balances::default, |wire| Balances {
        debits_pending: Amount(wide(wire.debits_pending_high, wire.debits_pending)),
        debits_posted: Amount(wide(wire.debits_posted_high, wire.debits_posted)),
        credits_pending: Amount(wide(wire.credits_pending_high, wire.credits_pending)),
        credits_posted: Amount(wide(wire.credits_posted_high, wire.credits_posted)),
    })
}

/// An account for the wire, without metadata.
#[must_use]
pub fn account_to_wire(account: &Account) -> v1::Account {
    let balances = account.balances;
    v1::Account {
        id: low(account.id.0),
        id_high: high(account.id.0),
        ledger: account.ledger.0,
        code: u32::from(account.code.0),
        flags: u32::from(account.flags.bits()),
        timestamp: account.timestamp.0,
        balances: (balances != Balances::default()).then(|| balances_to_wire(&balances)),
        user_data_128: low(account.user_data_128),
        user_data_128_high: high(account.user_data_128),
        user_data_64: account.user_data_64,
        user_data_32: account.user_data_32,
        metadata_json: String::new(),
    }
}

/// An account from the wire; metadata is left to the caller.
///
/// # Errors
/// As [`transfer_from_wire`].
pub fn account_from_wire(wire: &v1::Account) -> Result<Account, ConvertError> {
    Ok(Account {
        id: AccountId(wide(wire.id_high, wire.id)),
        balances: balances_from_wire(wire.balances.as_ref()),
        user_data_128: wide(wire.user_data_128_high, wire.user_data_128),
        user_data_64: wire.user_data_64,
        user_data_32: wire.user_data_32,
        ledger: LedgerId(wire.ledger),
        code: Code(small(wire.code, "code")?),
        flags: AccountFlags::from_bits_retain(small(wire.flags, "flags")?),
        timestamp: TimestampNs(wire.timestamp),
    })
}

/// The answer to a transfer, for the wire.
#[inline]
#[must_use]
pub fn result_to_wire(reply: &TransferReply) -> v1::TransferResult {
    let (debit, credit) = (&reply.debit, &reply.credit);
    let any = debit.debits_pending.0
        | debit.debits_posted.0
        | debit.credits_pending.0
        | debit.credits_posted.0
        | credit.debits_pending.0
        | credit.debits_posted.0
        | credit.credits_pending.0
        | credit.credits_posted.0;
    v1::TransferResult {
        result: i32::from(reply.result.code()),
        timestamp: reply.timestamp.0,
        debit_debits_pending: low(debit.debits_pending.0),
        debit_debits_posted: low(debit.debits_posted.0),
        debit_credits_pending: low(debit.credits_pending.0),
        debit_credits_posted: low(debit.credits_posted.0),
        credit_debits_pending: low(credit.debits_pending.0),
        credit_debits_posted: low(credit.debits_posted.0),
        credit_credits_pending: low(credit.credits_pending.0),
        credit_credits_posted: low(credit.credits_posted.0),
        high: (high(any) != 0).then(|| v1::TransferResultHigh {
            debit_debits_pending: high(debit.debits_pending.0),
            debit_debits_posted: high(debit.debits_posted.0),
            debit_credits_pending: high(debit.credits_pending.0),
            debit_credits_posted: high(debit.credits_posted.0),
            credit_debits_pending: high(credit.debits_pending.0),
            credit_debits_posted: high(credit.debits_posted.0),
            credit_credits_pending: high(credit.credits_pending.0),
            credit_credits_posted: high(credit.credits_posted.0),
        }),
    }
}

const UNKNOWN_RESULT: ConvertError = error("result", "this version does not know the result code");

fn result_code(code: i32) -> Option<u16> {
    u16::try_from(code).ok()
}

/// The answer to a transfer, from the wire.
///
/// # Errors
/// [`ConvertError`] when the code is not known.
#[inline]
pub fn result_from_wire(wire: &v1::TransferResult) -> Result<TransferReply, ConvertError> {
    let top = wire.high.unwrap_or_default();
    Ok(TransferReply {
        result: result_code(wire.result)
            .and_then(CreateTransferResult::from_code)
            .ok_or(UNKNOWN_RESULT)?,
        timestamp: TimestampNs(wire.timestamp),
        debit: Balances {
            debits_pending: Amount(wide(top.debit_debits_pending, wire.debit_debits_pending)),
            debits_posted: Amount(wide(top.debit_debits_posted, wire.debit_debits_posted)),
            credits_pending: Amount(wide(top.debit_credits_pending, wire.debit_credits_pending)),
            credits_posted: Amount(wide(top.debit_credits_posted, wire.debit_credits_posted)),
        },
        credit: Balances {
            debits_pending: Amount(wide(top.credit_debits_pending, wire.credit_debits_pending)),
            debits_posted: Amount(wide(top.credit_debits_posted, wire.credit_debits_posted)),
            credits_pending: Amount(wide(top.credit_credits_pending, wire.credit_credits_pending)),
            credits_posted: Amount(wide(top.credit_credits_posted, wire.credit_credits_posted)),
        },
    })
}

/// The answer to an account, for the wire.
#[must_use]
pub fn account_result_to_wire(reply: &AccountReply) -> v1::AccountResult {
    v1::AccountResult {
        result: i32::from(reply.result.code()),
        timestamp: reply.timestamp.0,
    }
}

/// The answer to an account, from the wire.
///
/// # Errors
/// As [`result_from_wire`].
pub fn account_result_from_wire(wire: &v1::AccountResult) -> Result<AccountReply, ConvertError> {
    let result = result_code(wire.result).and_then(CreateAccountResult::from_code);
    Ok(AccountReply {
        result: result.ok_or(UNKNOWN_RESULT)?,
        timestamp: TimestampNs(wire.timestamp),
    })
}

/// A description for the wire.
#[must_use]
pub fn description_to_wire(description: &LedgerDescription) -> v1::LedgerDescription {
    v1::LedgerDescription {
        ledger: description.ledger.0,
        name: description.name.clone(),
        currency: description.currency.clone(),
        scale: u32::from(description.scale),
    }
}

/// A description from the wire.
///
/// # Errors
/// [`ConvertError`] when the scale is beyond 8 bits.
pub fn description_from_wire(wire: v1::LedgerDescription) -> Result<LedgerDescription, ConvertError> {
    let scale = u8::try_from(wire.scale).map_err(|_| error("scale", "must be at most 255"))?;
    Ok(LedgerDescription {
        ledger: LedgerId(wire.ledger),
        name: wire.name,
        currency: wire.currency,
        scale,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::DescribeLedgerResult;

    fn balances(seed: u128) -> Balances {
        Balances {
            debits_pending: Amount(seed),
            debits_posted: Amount(seed << 66 | 1),
            credits_pending: Amount(u128::MAX - seed),
            credits_posted: Amount(seed + 3),
        }
    }

    fn transfer() -> Transfer {
        Transfer {
            id: TransferId(u128::MAX - 1),
            debit_account_id: AccountId(1 << 64),
            credit_account_id: AccountId(3),
            amount: Amount::ALL,
            pending_id: TransferId(5 << 70 | 5),
            user_data_128: 6 << 64 | 7,
            user_data_64: u64::MAX,
            user_data_32: u32::MAX,
            timeout: 9,
            ledger: LedgerId(10),
            code: Code(u16::MAX),
            flags: TransferFlags::from_bits_retain(u16::MAX),
            timestamp: TimestampNs(12),
        }
    }

    #[test]
    fn transfers_survive_the_wire_with_reserved_flags_and_wide_numbers() {
        assert_eq!(transfer_from_wire(&transfer_to_wire(&transfer())), Ok(transfer()));
        assert_eq!(
            transfer_from_wire(&v1::Transfer::default()),
            Ok(Transfer::default())
        );
    }

    #[test]
    fn accounts_survive_the_wire() {
        let account = Account {
            id: AccountId(1 << 127),
            balances: balances(4),
            user_data_128: 1 << 65 | 2,
            user_data_64: 3,
            user_data_32: 4,
            ledger: LedgerId(5),
            code: Code(6),
            flags: AccountFlags::from_bits_retain(0x8001),
            timestamp: TimestampNs(8),
        };
        assert_eq!(account_from_wire(&account_to_wire(&account)), Ok(account));
    }

    #[test]
    fn replies_survive_the_wire_with_every_result() {
        for (i, &result) in CreateTransferResult::ALL.iter().enumerate() {
            let reply = TransferReply {
                result,
                timestamp: TimestampNs(i as u64),
                debit: balances(i as u128),
                credit: balances(i as u128 + 1_000),
            };
            assert_eq!(result_from_wire(&result_to_wire(&reply)), Ok(reply));
        }
        for &result in CreateAccountResult::ALL {
            let reply = AccountReply {
                result,
                timestamp: TimestampNs(7),
            };
            assert_eq!(
                account_result_from_wire(&account_result_to_wire(&reply)),
                Ok(reply)
            );
        }
    }

    #[test]
    fn protobuf_enums_and_the_rules_agree_on_names_and_numbers() {
        fn agree(name: &str, prefix: &str, code: u16, number: Option<i32>) {
            assert_eq!(number, Some(i32::from(code)), "{prefix}_{name}");
        }
        for result in CreateTransferResult::ALL {
            let prefix = "CREATE_TRANSFER_RESULT";
            let wire = v1::CreateTransferResult::from_str_name(&name_of(prefix, result.name()));
            agree(result.name(), prefix, result.code(), wire.map(|w| w as i32));
        }
        for result in CreateAccountResult::ALL {
            let prefix = "CREATE_ACCOUNT_RESULT";
            let wire = v1::CreateAccountResult::from_str_name(&name_of(prefix, result.name()));
            agree(result.name(), prefix, result.code(), wire.map(|w| w as i32));
        }
        for result in DescribeLedgerResult::ALL {
            let prefix = "DESCRIBE_LEDGER_RESULT";
            let wire = v1::DescribeLedgerResult::from_str_name(&name_of(prefix, result.name()));
            agree(result.name(), prefix, result.code(), wire.map(|w| w as i32));
        }
    }

    fn name_of(prefix: &str, name: &str) -> String {
        format!("{prefix}_{}", name.to_uppercase())
    }

    #[test]
    fn numbers_beyond_the_ledgers_types_are_refused_by_name() {
        let wire = v1::Transfer {
            code: 65_536,
            ..v1::Transfer::default()
        };
        assert_eq!(transfer_from_wire(&wire).unwrap_err().field, "code");
        let wire = v1::Account {
            flags: 1 << 20,
            ..v1::Account::default()
        };
        assert_eq!(account_from_wire(&wire).unwrap_err().field, "flags");
        let wire = v1::TransferResult {
            result: 70,
            ..v1::TransferResult::default()
        };
        assert_eq!(result_from_wire(&wire), Err(UNKNOWN_RESULT));
    }
}
