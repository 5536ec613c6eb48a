//! The rules of describing a ledger (pure). The name may change; currency and scale give amounts their meaning and
//! may not, once they are given (an empty currency is not given; a description always gives the scale).

use crate::{DescribeLedgerResult as Code, Ledger, LedgerDescription};
use std::sync::Arc;

const NAME_BYTES_MAX: usize = 128;
const CURRENCY_BYTES_MAX: usize = 16;
const SCALE_MAX: u8 = 18;

impl Ledger {
    pub(crate) fn describe(&mut self, description: &LedgerDescription) -> Code {
        let before = self.descriptions.get(&description.ledger);
        if let Some(refusal) = refusal(before, description) {
            return refusal;
        }
        if before == Some(description) {
            return Code::Unchanged;
        }
        Arc::make_mut(&mut self.descriptions).insert(description.ledger, description.clone());
        Code::Described
    }
}

fn refusal(before: Option<&LedgerDescription>, description: &LedgerDescription) -> Option<Code> {
    if description.ledger.0 == 0 {
        return Some(Code::LedgerMustNotBeZero);
    }
    if description.name.len() > NAME_BYTES_MAX {
        return Some(Code::NameTooLong);
    }
    if description.currency.len() > CURRENCY_BYTES_MAX {
        return Some(Code::CurrencyTooLong);
    }
    if description.scale > SCALE_MAX {
        return Some(Code::ScaleOutOfRange);
    }
    let before = before?;
    if !before.currency.is_empty() && description.currency != before.currency {
        return Some(Code::CurrencyMustNotChange);
    }
    (description.scale != before.scale).then_some(Code::ScaleMustNotChange)
}
