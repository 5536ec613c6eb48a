//! Measures reading, planning and stating, without a ledger behind it, and prints JSON.
//!
//! `cargo run --release -p payments --example measure -- [PAYMENTS]`

use ledger::{
    Account, AccountId, AccountReply, Amount, Balances, CreateAccountResult, CreateTransferResult,
    DescribeLedgerResult, LedgerDescription, LedgerId, RowKind, RowNumber, TimestampNs, Transfer,
    TransferReply,
};
use payments::{
    BalanceReading, EntryPage, EntryRow, LedgerPort, Mapping, NewAccount, NewTransfer, PortError,
    StatementFormat, StatementPort, StatementRequest, demo, make_iban,
};
use std::fmt::Write as _;
use std::time::Instant;

/// Accepts everything.
struct Yes;

impl LedgerPort for Yes {
    fn create_accounts(&mut self, accounts: &[NewAccount]) -> Result<Vec<AccountReply>, PortError> {
        let reply = AccountReply {
            result: CreateAccountResult::Created,
            timestamp: TimestampNs(1),
        };
        Ok(vec![reply; accounts.len()])
    }

    fn create_transfers(&mut self, transfers: &[NewTransfer]) -> Result<Vec<TransferReply>, PortError> {
        let (debit, credit) = (Balances::default(), Balances::default());
        let result = CreateTransferResult::Created;
        Ok(vec![
            TransferReply {
                result,
                timestamp: TimestampNs(1),
                debit,
                credit
            };
            transfers.len()
        ])
    }

    fn describe_ledger(&mut self, _: &LedgerDescription) -> Result<DescribeLedgerResult, PortError> {
        Ok(DescribeLedgerResult::Described)
    }
}

const ACCOUNT: AccountId = AccountId(1);

/// An account that was credited one unit, that often.
struct Entries(u64);

impl StatementPort for Entries {
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, PortError> {
        Ok(Some(Account {
            id,
            ..Account::default()
        }))
    }

    fn balances_at(&mut self, _: AccountId, at: TimestampNs) -> Result<BalanceReading, PortError> {
        if at.0 < 1_000 {
            return Ok(BalanceReading::default());
        }
        Ok(BalanceReading {
            balances: Balances {
                credits_posted: Amount(u128::from(self.0)),
                ..Balances::default()
            },
            timestamp: TimestampNs(999 + self.0),
        })
    }

    fn entries(
        &mut self,
        _: AccountId,
        _: TimestampNs,
        _: TimestampNs,
        after: Option<RowNumber>,
    ) -> Result<EntryPage, PortError> {
        let first = after.map_or(0, |after| after.0 + 1);
        let end = (first + 8_190).min(self.0);
        let rows: Vec<EntryRow> = (first..end).map(entry).collect();
        Ok(EntryPage {
            rows,
            next: (end < self.0).then_some(RowNumber(end - 1)),
        })
    }
}

fn entry(number: u64) -> EntryRow {
    let transfer = Transfer {
        id: ledger::TransferId(u128::from(number) + 1),
        credit_account_id: ACCOUNT,
        debit_account_id: AccountId(2),
        amount: Amount(1),
        ledger: LedgerId(978),
        timestamp: TimestampNs(1_000 + number),
        ..Transfer::default()
    };
    let metadata =
        "{\"debtor_name\":\"Aigerim Sadykova\",\"end_to_end_id\":\"E1\",\"remittance\":\"Rent\"}".to_owned();
    EntryRow {
        number: RowNumber(number),
        kind: RowKind::Applied,
        transfer,
        metadata: Some(metadata),
    }
}

fn file(count: u64) -> String {
    let mut xml = String::from(
        "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\"><CstmrCdtTrfInitn>\n\
         <GrpHdr><MsgId>M</MsgId></GrpHdr><PmtInf><PmtInfId>P</PmtInfId><DbtrAcct><Id><IBAN>",
    );
    let own = |number: u64| make_iban("KZ", &format!("998{number:013}"));
    xml.push_str(&own(9_000));
    xml.push_str("</IBAN></Id></DbtrAcct>\n");
    for number in 0..count {
        let _ = writeln!(
            xml,
            "<CdtTrfTxInf><PmtId><EndToEndId>E{number}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"EUR\">10.50</InstdAmt>\
             </Amt><Cdtr><Nm>Aigerim Sadykova</Nm></Cdtr><CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct>\
             <RmtInf><Ustrd>Salary November</Ustrd></RmtInf></CdtTrfTxInf>",
            own(number % 5_000)
        );
    }
    xml.push_str("</PmtInf></CstmrCdtTrfInitn></Document>");
    xml
}

fn main() -> Result<(), payments::PaymentsError> {
    let count: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let mapping = Mapping::parse(demo::MAPPING_TOML, "demo")?;
    let xml = file(count);
    let start = Instant::now();
    let read = payments::read_pain001(xml.as_bytes(), &mut |_| ())?;
    let reading = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let report = payments::import_payments(&mapping, &read, &mut Yes, &mut |_| ())?;
    let planning = start.elapsed().as_secs_f64();
    assert_eq!(report.totals().settled, count, "all are booked");
    let request = StatementRequest {
        account: ACCOUNT,
        identification: None,
        currency: "EUR".to_owned(),
        scale: 2,
        owner: None,
        servicer_bic: None,
        from: TimestampNs(1_000),
        to: TimestampNs(u64::MAX / 2),
        created: TimestampNs(1_000),
        statement_id: "S".to_owned(),
        with_pending: false,
    };
    let per_second = |seconds: f64| (count as f64 / seconds) as u64;
    let mut figures = serde_json::json!({
        "workload": "payments", "payments": count, "bytes": xml.len(),
        "read_per_s": per_second(reading), "plan_per_s": per_second(planning),
    });
    for (name, format) in [
        ("camt053_entries_per_s", StatementFormat::Camt053V08),
        ("csv_entries_per_s", StatementFormat::Csv),
        ("json_entries_per_s", StatementFormat::Json),
    ] {
        let start = Instant::now();
        payments::write_statement(
            &mut Entries(count),
            &request,
            format,
            &mut std::io::sink(),
            &mut |_| (),
        )?;
        figures[name] = per_second(start.elapsed().as_secs_f64()).into();
    }
    println!("{figures}");
    Ok(())
}
