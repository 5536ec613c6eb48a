//! The real ledger, in memory, behind the seams of this crate; and a mapping that most tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use ledger::{
    Account, AccountId, AccountReply, ActorId, Balances, Command, CommandBody, DescribeLedgerResult,
    EventMetadata, Events, Ledger, LedgerDescription, NoArchive, Outcome, Row, RowKind, RowNumber,
    TimestampNs, Transfer, TransferReply,
};
use payments::{
    BalanceReading, EntryPage, EntryRow, ImportReport, LedgerPort, Mapping, NewAccount, NewTransfer,
    PaymentsError, PortError, Progress, StatementPort,
};
use std::sync::Arc;

/// 2026-01-01T00:00:00Z.
pub const START: u64 = 1_767_225_600_000_000_000;

pub struct MemoryLedger {
    pub ledger: Ledger,
    pub now: u64,
    pub rows: Vec<(Row, Option<Vec<u8>>)>,
    /// How many requests changed anything.
    pub requests: usize,
    /// Fails the request with that number, before it is applied.
    pub fail_at: Option<usize>,
    /// Rows in a page of entries.
    pub page: usize,
    /// Booked before every question of a statement, under the next id.
    pub meanwhile: Option<Transfer>,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self {
            ledger: Ledger::new(),
            now: START,
            rows: Vec::new(),
            requests: 0,
            fail_at: None,
            page: 3,
            meanwhile: None,
        }
    }
}

impl MemoryLedger {
    pub fn apply(&mut self, body: CommandBody) -> Result<Outcome, PortError> {
        self.requests += 1;
        if self.fail_at == Some(self.requests) {
            return Err(PortError::new("no writer now", true));
        }
        self.now += 1_000_000_000;
        let mut outcome = Outcome::default();
        let command = Command {
            actor: ActorId(0),
            body,
        };
        self.ledger
            .apply(&NoArchive, TimestampNs(self.now), &command, &mut outcome)
            .map_err(|error| PortError::new(error.to_string(), false))?;
        let first = self.rows.len() as u32;
        self.rows.extend(outcome.rows.iter().map(|row| (*row, None)));
        for (index, sealed) in &outcome.row_metadata {
            self.rows[(first + index) as usize].1 = Some(sealed.to_vec());
        }
        Ok(outcome)
    }

    pub fn transfer(&mut self, transfer: Transfer) -> TransferReply {
        let events = Events {
            events: vec![transfer],
            metadata: Vec::new(),
        };
        self.apply(CommandBody::CreateTransfers(events))
            .expect("applies")
            .transfers[0]
    }

    fn go_on(&mut self) {
        if let Some(transfer) = self.meanwhile.as_mut() {
            transfer.id.0 += 1;
            let transfer = *transfer;
            assert_eq!(
                self.transfer(transfer).result,
                ledger::CreateTransferResult::Created
            );
        }
    }

    pub fn balances(&self, id: AccountId) -> Option<Balances> {
        self.ledger.account(id).map(|(_, account)| account.balances)
    }

    /// Everything that an import could change.
    pub fn fingerprint(&self) -> (u64, u32, Vec<Account>) {
        let accounts: Vec<Account> = (0..self.ledger.accounts_len())
            .map(|n| *self.ledger.account_at(ledger::AccountNumber(n)))
            .collect();
        (self.ledger.rows().0, self.ledger.accounts_len(), accounts)
    }
}

fn events<T>(items: impl Iterator<Item = (T, Option<String>)>) -> Events<T> {
    let mut events = Events {
        events: Vec::new(),
        metadata: Vec::new(),
    };
    let mut bytes = 0;
    for (index, (event, metadata)) in items.enumerate() {
        events.events.push(event);
        if let Some(text) = metadata {
            assert!(text.len() <= 4096, "metadata of {} bytes", text.len());
            bytes += text.len();
            assert!(
                bytes <= payments::METADATA_BYTES_PER_CALL_MAX,
                "a call that a node does not take"
            );
            let sealed: Arc<[u8]> = Arc::from(text.into_bytes());
            events.metadata.push(EventMetadata {
                index: index as u32,
                sealed,
            });
        }
    }
    events
}

impl LedgerPort for MemoryLedger {
    fn create_accounts(&mut self, accounts: &[NewAccount]) -> Result<Vec<AccountReply>, PortError> {
        let events = events(accounts.iter().map(|new| (new.account, new.metadata.clone())));
        self.apply(CommandBody::CreateAccounts(events))
            .map(|outcome| outcome.accounts)
    }

    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError> {
        let events = events(transfers.iter().map(|new| (new.transfer, new.metadata.clone())));
        self.apply(CommandBody::CreateTransfers(events))
            .map(|outcome| outcome.transfers)
    }

    fn describe_ledger(
        &mut self,
        description: &LedgerDescription,
    ) -> Result<DescribeLedgerResult, PortError> {
        let outcome = self.apply(CommandBody::DescribeLedger(description.clone()))?;
        outcome
            .described
            .ok_or_else(|| PortError::new("no answer", false))
    }
}

impl StatementPort for MemoryLedger {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, PortError> {
        Ok(self.ledger.account(id).map(|(_, account)| *account))
    }

    fn balances_at(&mut self, id: AccountId, at: TimestampNs) -> Result<BalanceReading, PortError> {
        self.go_on();
        let rows = self
            .rows
            .iter()
            .filter(|(row, _)| row.kind != RowKind::Burnt && row.transfer.timestamp <= at);
        Ok(rows
            .filter_map(|(row, _)| {
                let balances = if row.transfer.debit_account_id == id {
                    row.debit_balances
                } else if row.transfer.credit_account_id == id {
                    row.credit_balances
                } else {
                    return None;
                };
                Some(BalanceReading {
                    balances,
                    timestamp: row.transfer.timestamp,
                })
            })
            .next_back()
            .unwrap_or_default())
    }

    fn entries(
        &mut self,
        id: AccountId,
        from: TimestampNs,
        to: TimestampNs,
        after: Option<RowNumber>,
    ) -> Result<EntryPage, PortError> {
        self.go_on();
        let rows: Vec<EntryRow> = self
            .rows
            .iter()
            .enumerate()
            .filter(|(number, _)| after.is_none_or(|after| *number as u64 > after.0))
            .filter(|(_, (row, _))| {
                let transfer = &row.transfer;
                row.kind != RowKind::Burnt
                    && (transfer.debit_account_id == id || transfer.credit_account_id == id)
                    && (from..=to).contains(&transfer.timestamp)
            })
            .take(self.page)
            .map(|(number, (row, metadata))| EntryRow {
                number: RowNumber(number as u64),
                kind: row.kind,
                transfer: row.transfer,
                metadata: metadata
                    .clone()
                    .map(|bytes| String::from_utf8(bytes).expect("UTF-8")),
            })
            .collect();
        let next = if rows.len() == self.page {
            rows.last().map(|row| row.number)
        } else {
            None
        };
        Ok(EntryPage { rows, next })
    }
}

/// The one account of [`MAPPING`] that may be overdrawn.
pub const OVERDRAWN: &str = "KZ269989999999999999";

pub const MAPPING: &str = r#"
overdraft = ["KZ269989999999999999"]

[bank]
name = "Tulpar Bank"
bics = ["TULPKZKA"]

[opening]
account = "OPENING-EQUITY"
code = 3900

[transfer_codes]
payment = 1
opening = 2
purpose = { SALA = 11 }

[[currency]]
code = "EUR"

[[currency]]
code = "JPY"

[[currency]]
code = "KWD"

[[own]]
iban_prefix = "KZ??998"
code = 2010
flags = ["debits_must_not_exceed_credits"]
per_currency = true

[[own]]
scheme = "CUST"
id_prefix = ""
code = 2020
currencies = ["EUR"]

[[clearing]]
agent = "DEUT"
currency = "EUR"
account = "DEUT-EUR"
code = 1110

[[clearing]]
account = "CORRESPONDENTS"
code = 1100

[[clearing]]
iban_prefix = "GB"
account = "LONDON"
code = 1120
"#;

pub fn mapping() -> Mapping {
    Mapping::parse(MAPPING, "mapping.toml").expect("the mapping is valid")
}

pub fn quiet() -> impl FnMut(Progress) {
    |_| {}
}

/// An IBAN of the bank's own.
pub fn own(number: u64) -> String {
    payments::make_iban("KZ", &format!("998{number:013}"))
}

/// An IBAN at another bank.
pub fn foreign(number: u64) -> String {
    payments::make_iban("DE", &format!("37040044{number:010}"))
}

pub fn import_xml(port: &mut MemoryLedger, xml: &str) -> Result<ImportReport, PaymentsError> {
    let file = payments::read_pain001(xml.as_bytes(), &mut quiet())?;
    Ok(payments::import_payments(&mapping(), &file, port, &mut quiet())?)
}

/// Puts money on accounts: `(account, currency, amount)`.
pub fn fund(port: &mut MemoryLedger, balances: &[(&str, &str, &str)]) {
    let mut csv = String::from("account,currency,amount\n");
    for (account, currency, amount) in balances {
        csv.push_str(&format!("{account},{currency},{amount}\n"));
    }
    let reports =
        payments::import_opening_balances(csv.as_bytes(), &mapping(), port, &mut quiet()).expect("reads");
    for report in reports {
        assert!(report.outcome.is_settled(), "{report:?}");
    }
}

/// One payment for [`pain001`].
#[derive(Clone)]
pub struct Pay {
    pub id: String,
    pub amount: String,
    pub currency: String,
    pub creditor: String,
    pub bic: Option<String>,
    pub extra: String,
}

pub fn pay(id: &str, amount: &str, currency: &str, creditor: &str) -> Pay {
    Pay {
        id: id.to_owned(),
        amount: amount.to_owned(),
        currency: currency.to_owned(),
        creditor: creditor.to_owned(),
        bic: None,
        extra: String::new(),
    }
}

/// A pain.001.001.09 with one PmtInf from that debtor and no claims.
pub fn pain001(message: &str, debtor: &str, payments: &[Pay]) -> String {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\"><CstmrCdtTrfInitn>\n\
         <GrpHdr><MsgId>{message}</MsgId><CreDtTm>2026-11-22T10:00:00</CreDtTm><InitgPty><Nm>Steppe Co</Nm></InitgPty></GrpHdr>\n\
         <PmtInf><PmtInfId>P1</PmtInfId><PmtMtd>TRF</PmtMtd><ReqdExctnDt><Dt>2026-11-22</Dt></ReqdExctnDt>\n\
         <Dbtr><Nm>Steppe Co</Nm></Dbtr><DbtrAcct><Id><IBAN>{debtor}</IBAN></Id></DbtrAcct>\n"
    );
    for pay in payments {
        let agent = pay.bic.as_ref().map_or(String::new(), |bic| {
            format!("<CdtrAgt><FinInstnId><BICFI>{bic}</BICFI></FinInstnId></CdtrAgt>")
        });
        xml.push_str(&format!(
            "<CdtTrfTxInf><PmtId><EndToEndId>{}</EndToEndId></PmtId>\
             <Amt><InstdAmt Ccy=\"{}\">{}</InstdAmt></Amt>{agent}<Cdtr><Nm>Creditor</Nm></Cdtr>\
             <CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct>{}</CdtTrfTxInf>\n",
            pay.id, pay.currency, pay.amount, pay.creditor, pay.extra
        ));
    }
    xml.push_str("</PmtInf></CstmrCdtTrfInitn></Document>\n");
    xml
}

/// Codes of the reasons of every refused payment, in order; `ACSC` for settled ones.
pub fn statuses(report: &ImportReport) -> Vec<String> {
    let payments = report.batches.iter().flat_map(|batch| &batch.payments);
    payments
        .map(|payment| match &payment.outcome {
            payments::Outcome::Refused(issues) => {
                assert!(!issues.is_empty(), "a refusal without a reason: {payment:?}");
                issues
                    .iter()
                    .map(|issue| issue.reason.code())
                    .collect::<Vec<_>>()
                    .join("+")
            }
            payments::Outcome::Settled => "ACSC".to_owned(),
            payments::Outcome::AlreadySettled => "again".to_owned(),
            payments::Outcome::Pending => "PDNG".to_owned(),
        })
        .collect()
}
