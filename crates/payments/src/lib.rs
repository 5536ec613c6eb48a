//! Payments in, statements out.
//!
//! Owns: reading ISO 20022 `pain.001` and CSV, the mapping from their accounts to the ledger's, deriving ids,
//! reporting outcomes as `pain.002`, writing statements as `camt.053`, CSV and JSON.
//! Must not: use the network, a clock or randomness; the ledger is reached through [`LedgerPort`] and
//! [`StatementPort`], time is an argument. See `docs/payments.md`.

mod error;
mod ident;
mod iso4217;
mod model;
mod money;
mod pain001;
mod port;
mod progress;
mod text;
mod xml;

pub use error::{Located, PaymentsError, PortError};
pub use ident::{AccountRef, IdentError, make_iban, parse_bic, parse_iban};
pub use iso4217::{IsoCurrency, iso_currency};
pub use model::*;
pub use money::{AmountError, Decimal, format_minor, parse_amount};
pub use pain001::read_pain001;
pub use port::*;
pub use progress::{Progress, Stage};
pub use text::FILE_BYTES_MAX;
