//! Holds the tables of the SQL projection against a node's books (pure).
//!
//! Owns: the question that reads a ledger out of the tables, what its answer means, and what may not differ. Metadata
//! never enters the tables; everything else must be there as the node shows it.

use super::checker::{Observed, ObservedRow};
use super::states::{NamedState, check_states};
use super::violation::Violation;
use ledger::{
    Account, AccountFlags, AccountId, Amount, Balances, Code, LedgerId, RowKind, TimestampNs, Transfer,
    TransferFlags, TransferId,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Who is told as the one that differs.
const NAME: &str = "the SQL projection";

/// What the tables show of one ledger, all of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projected {
    /// The last block that is in the tables.
    pub height: u64,
    /// Rows and accounts.
    pub observed: Observed,
    /// What each row is called.
    pub kinds: Vec<String>,
    /// Pending transfers that count as open.
    pub open: BTreeSet<TransferId>,
    /// What the shipped trial balance says.
    pub totals: Balances,
}

/// Where the tables stand, alone.
pub const POSITION_QUESTION: &str =
    "select 'position ' || row_to_json(t) from (select height from ledger.position) t";

/// One statement, so that all of it is of one moment. A line an object, each behind the name of its table.
#[must_use]
pub fn question(ledger: LedgerId) -> String {
    let balances = |prefix: &str| {
        let names = [
            "debits_pending",
            "debits_posted",
            "credits_pending",
            "credits_posted",
        ];
        let columns = names.map(|name| format!("{prefix}{name}::text"));
        format!("array[{}]", columns.join(", "))
    };
    let user_data = "user_data_128, user_data_64::text, user_data_32";
    format!(
        "{POSITION_QUESTION}
union all select 'transfer ' || row_to_json(t) from (select timestamp_ns, id, kind, debit_account_id, credit_account_id,
    amount::text, pending_id, ledger, code, flags, timeout_s, {user_data}, {debit} as debit, {credit} as credit
    from ledger.transfers where ledger = {ledger}) t
union all select 'account ' || row_to_json(t) from (select id, ledger, code, flags, {user_data}, timestamp_ns,
    {own} as balances from ledger.accounts where ledger = {ledger}) t
union all select 'pending ' || row_to_json(t) from (select id from ledger.open_pendings where ledger = {ledger}) t
union all select 'totals ' || row_to_json(t) from (select {own} as balances from ledger.trial_balance({ledger})) t",
        debit = balances("debit_"),
        credit = balances("credit_"),
        own = balances(""),
    )
}

#[derive(Deserialize)]
struct PositionLine {
    height: u64,
}

#[derive(Deserialize)]
struct TransferLine {
    timestamp_ns: u64,
    id: Option<String>,
    kind: String,
    debit_account_id: String,
    credit_account_id: String,
    amount: String,
    pending_id: Option<String>,
    ledger: u32,
    code: u16,
    flags: u16,
    timeout_s: Option<u32>,
    user_data_128: Option<String>,
    user_data_64: Option<String>,
    user_data_32: Option<u32>,
    debit: [String; 4],
    credit: [String; 4],
}

#[derive(Deserialize)]
struct AccountLine {
    id: String,
    ledger: u32,
    code: u16,
    flags: u16,
    user_data_128: Option<String>,
    user_data_64: Option<String>,
    user_data_32: Option<u32>,
    timestamp_ns: u64,
    balances: [String; 4],
}

#[derive(Deserialize)]
struct PendingLine {
    id: String,
}

#[derive(Deserialize)]
struct TotalsLine {
    balances: [String; 4],
}

impl Projected {
    /// What is wrong when the tables have not come so far.
    #[must_use]
    pub fn behind(&self, height: u64) -> Option<Violation> {
        (self.height < height).then_some(Violation::ProjectionBehind {
            projected: self.height,
            height,
        })
    }

    /// Reads the answer to [`question`], or to [`POSITION_QUESTION`] alone.
    ///
    /// # Errors
    /// The line that makes no sense.
    pub fn read(answer: &str) -> Result<Self, String> {
        let mut projected = Self::default();
        let mut rows = Vec::new();
        for line in answer.lines() {
            let taken = projected.take(line, &mut rows);
            taken.ok_or_else(|| format!("no table of the projection has such a line: {line}"))?;
        }
        // The order of lines is nobody's promise; times are the tables' key, and ids the accounts'.
        rows.sort_by_key(|(row, _): &(ObservedRow, String)| row.transfer.timestamp);
        (projected.observed.rows, projected.kinds) = rows.into_iter().unzip();
        projected.observed.accounts.sort_by_key(|account| account.id);
        Ok(projected)
    }

    fn take(&mut self, line: &str, rows: &mut Vec<(ObservedRow, String)>) -> Option<()> {
        let (table, object) = line.split_once(' ')?;
        match table {
            "position" => self.height = serde_json::from_str::<PositionLine>(object).ok()?.height,
            "transfer" => rows.push(row(serde_json::from_str(object).ok()?)?),
            "account" => {
                let account = account(&serde_json::from_str(object).ok()?)?;
                self.observed.accounts.push(account);
            }
            "pending" => {
                let line: PendingLine = serde_json::from_str(object).ok()?;
                self.open.insert(TransferId(uuid(&line.id)?));
            }
            // A line for each code.
            "totals" => {
                let line: TotalsLine = serde_json::from_str(object).ok()?;
                let more = balances(&line.balances)?;
                self.totals.debits_pending.0 += more.debits_pending.0;
                self.totals.debits_posted.0 += more.debits_posted.0;
                self.totals.credits_pending.0 += more.credits_pending.0;
                self.totals.credits_posted.0 += more.credits_posted.0;
            }
            _ => return None,
        }
        Some(())
    }
}

fn row(line: TransferLine) -> Option<(ObservedRow, String)> {
    let kind = match line.kind.as_str() {
        "expiry" => RowKind::Expired,
        _ => RowKind::Applied,
    };
    let transfer = Transfer {
        id: TransferId(uuid_or_zero(line.id.as_deref())?),
        debit_account_id: AccountId(uuid(&line.debit_account_id)?),
        credit_account_id: AccountId(uuid(&line.credit_account_id)?),
        amount: amount(&line.amount)?,
        pending_id: TransferId(uuid_or_zero(line.pending_id.as_deref())?),
        user_data_128: uuid_or_zero(line.user_data_128.as_deref())?,
        user_data_64: line.user_data_64.map_or(Some(0), |text| text.parse().ok())?,
        user_data_32: line.user_data_32.unwrap_or_default(),
        timeout: line.timeout_s.unwrap_or_default(),
        ledger: LedgerId(line.ledger),
        code: Code(line.code),
        flags: TransferFlags::from_bits_retain(line.flags),
        timestamp: TimestampNs(line.timestamp_ns),
    };
    let row = ObservedRow {
        kind,
        transfer,
        debit: balances(&line.debit)?,
        credit: balances(&line.credit)?,
        metadata: None,
    };
    Some((row, line.kind))
}

fn account(line: &AccountLine) -> Option<Account> {
    let user_data_64 = line.user_data_64.as_deref();
    Some(Account {
        id: AccountId(uuid(&line.id)?),
        ledger: LedgerId(line.ledger),
        code: Code(line.code),
        flags: AccountFlags::from_bits_retain(line.flags),
        balances: balances(&line.balances)?,
        user_data_128: uuid_or_zero(line.user_data_128.as_deref())?,
        user_data_64: user_data_64.map_or(Some(0), |text| text.parse().ok())?,
        user_data_32: line.user_data_32.unwrap_or_default(),
        timestamp: TimestampNs(line.timestamp_ns),
    })
}

fn uuid(text: &str) -> Option<u128> {
    u128::from_str_radix(&text.replace('-', ""), 16).ok()
}

fn uuid_or_zero(text: Option<&str>) -> Option<u128> {
    text.map_or(Some(0), uuid)
}

fn amount(text: &str) -> Option<Amount> {
    text.parse().ok().map(Amount)
}

fn balances(texts: &[String; 4]) -> Option<Balances> {
    let [debits_pending, debits_posted, credits_pending, credits_posted] = texts;
    Some(Balances {
        debits_pending: amount(debits_pending)?,
        debits_posted: amount(debits_posted)?,
        credits_pending: amount(credits_pending)?,
        credits_posted: amount(credits_posted)?,
    })
}

/// Whether the tables have reached the ledger's height, and show what the writer shows.
#[must_use]
pub fn check_projected(
    ledger: LedgerId,
    height: u64,
    writer: &Observed,
    projected: &Projected,
) -> Vec<Violation> {
    if let Some(behind) = projected.behind(height) {
        return vec![behind];
    }
    let mut books = writer.clone();
    for row in &mut books.rows {
        row.metadata = None;
    }
    let states = [
        NamedState {
            name: "the writer".to_owned(),
            observed: books,
            totals: None,
        },
        NamedState {
            name: NAME.to_owned(),
            observed: projected.observed.clone(),
            totals: Some(projected.totals),
        },
    ];
    let mut violations = check_states(ledger, &states);
    let differs = |at| Violation::StatesDiffer {
        first: "the writer".to_owned(),
        second: NAME.to_owned(),
        at,
    };
    violations.extend(wrong_kind(projected).map(differs));
    let open = open_pendings(writer);
    if open != projected.open {
        let missing: Vec<_> = open.difference(&projected.open).collect();
        let settled: Vec<_> = projected.open.difference(&open).collect();
        violations.push(differs(format!(
            "open pending transfers: {missing:?} are missing, {settled:?} are settled"
        )));
    }
    violations
}

fn wrong_kind(projected: &Projected) -> Option<String> {
    let rows = projected.observed.rows.iter().zip(&projected.kinds);
    rows.into_iter().find_map(|(row, kind)| {
        let flags = row.transfer.flags;
        let expected = match row.kind {
            RowKind::Expired => "expiry",
            _ if flags.contains(TransferFlags::POST_PENDING_TRANSFER) => "post",
            _ if flags.contains(TransferFlags::VOID_PENDING_TRANSFER) => "void",
            _ if flags.contains(TransferFlags::PENDING) => "pending",
            _ => "transfer",
        };
        let at = row.transfer.timestamp;
        (kind != expected).then(|| format!("the row of {at} is called {kind} and is {expected}"))
    })
}

/// Pending transfers that no row posts, voids or lets expire.
fn open_pendings(writer: &Observed) -> BTreeSet<TransferId> {
    let mut open = BTreeSet::new();
    for row in &writer.rows {
        let transfer = &row.transfer;
        if transfer.pending_id != TransferId(0) {
            open.remove(&transfer.pending_id);
        } else if transfer.flags.contains(TransferFlags::PENDING) {
            open.insert(transfer.id);
        }
    }
    open
}
