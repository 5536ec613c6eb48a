//! Payments in, statements out.
//!
//! Owns: reading ISO 20022 `pain.001` and CSV, the mapping from their accounts to the ledger's, deriving ids,
//! reporting outcomes as `pain.002`, writing statements as `camt.053`, CSV and JSON.
//! Must not: use the network, a clock or randomness; the ledger is reached through [`LedgerPort`] and
//! [`StatementPort`], time is an argument. See `docs/payments.md`.

mod csv_in;
pub mod demo;
mod error;
mod fuzz;
mod ident;
mod ids;
mod import;
mod iso4217;
mod mapping;
mod model;
mod money;
mod opening;
mod pain001;
mod pain002;
mod plan;
mod port;
mod progress;
mod report;
mod statement;
mod text;
mod xml;
mod xml_out;

pub use csv_in::{CSV_COLUMNS, read_csv};
pub use error::{Located, PaymentsError, PortError};
pub use fuzz::{fuzz_csv, fuzz_mapping, fuzz_pain001};
pub use ident::{AccountRef, IdentError, make_iban, parse_bic, parse_iban};
pub use ids::{AccountKind, account_id, account_reference, file_reference, payment_reference, transfer_id};
pub use import::{ImportFailure, import_payments};
pub use iso4217::{IsoCurrency, iso_currency};
pub use mapping::{Currency, MappedAccount, Mapping, Unmapped};
pub use model::*;
pub use money::{AmountError, Decimal, format_minor, parse_amount};
pub use opening::{OpeningReport, import_opening_balances};
pub use pain001::read_pain001;
pub use pain002::{StatusReportHeader, write_status_report};
pub use port::*;
pub use progress::{Progress, Stage};
pub use report::{BatchReport, ImportReport, Outcome, PaymentReport, Totals, refusal};
pub use statement::{Direction, StatementFormat, StatementRequest, StatementSummary, write_statement};
pub use text::FILE_BYTES_MAX;
