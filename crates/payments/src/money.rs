//! Exact decimal amounts (pure). Owns: reading and writing decimals as integers of minor units.
//! Must not: use floating point, round, or guess a separator.

use ledger::Amount;

/// Why a decimal cannot be an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one point.
    #[error("is not a decimal number (digits, at most one point, no sign, no exponent)")]
    NotADecimal,
    /// More digits than can be counted exactly.
    #[error("has more than 30 digits")]
    TooLong,
    /// More decimals than the currency has.
    #[error("has {decimals} decimals, but the currency has {scale}")]
    TooManyDecimals {
        /// How many were given.
        decimals: u8,
        /// How many there may be.
        scale: u8,
    },
    /// A payment of nothing.
    #[error("is zero")]
    Zero,
}

/// The most digits of a decimal; so that sums of millions of amounts at any scale fit in 128 bits.
const DIGITS_MAX: usize = 30;

/// A non-negative decimal, kept exactly: `digits` × 10^−`decimals`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decimal {
    digits: u128,
    decimals: u8,
}

impl Decimal {
    /// Reads digits with at most one point. Blanks around it are ignored; signs and exponents are refused.
    ///
    /// # Errors
    /// [`AmountError::NotADecimal`] or [`AmountError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (text, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
            return Err(AmountError::NotADecimal);
        }
        let whole = whole.trim_start_matches('0');
        if whole.len() + fraction.len() > DIGITS_MAX {
            return Err(AmountError::TooLong);
        }
        let digits = whole
            .bytes()
            .chain(fraction.bytes())
            .fold(0u128, |sum, byte| sum * 10 + u128::from(byte - b'0'));
        // At most 30 by the check above.
        Ok(Self {
            digits,
            decimals: fraction.len() as u8,
        })
    }

    /// The value in minor units of a currency of that scale.
    ///
    /// # Errors
    /// When it has more decimals than the currency, zeros at the end included: 10.000 EUR may be ten or
    /// ten thousand to whoever wrote it.
    pub fn to_minor(self, scale: u8) -> Result<Amount, AmountError> {
        if self.decimals > scale {
            return Err(AmountError::TooManyDecimals {
                decimals: self.decimals,
                scale,
            });
        }
        let factor = 10u128
            .checked_pow(u32::from(scale - self.decimals))
            .ok_or(AmountError::TooLong)?;
        self.digits
            .checked_mul(factor)
            .map(Amount)
            .ok_or(AmountError::TooLong)
    }

    /// The sum, or `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let decimals = self.decimals.max(other.decimals);
        let digits = self.at(decimals)?.checked_add(other.at(decimals)?)?;
        Some(Self { digits, decimals })
    }

    /// Whether both are the same number, however many zeros they end in.
    #[must_use]
    pub fn same_value(self, other: Self) -> bool {
        let decimals = self.decimals.max(other.decimals);
        self.at(decimals)
            .is_some_and(|mine| Some(mine) == other.at(decimals))
    }

    /// As text, with as many decimals as it was given.
    #[must_use]
    pub fn to_text(self) -> String {
        format_minor(self.digits, self.decimals)
    }

    fn at(self, decimals: u8) -> Option<u128> {
        let factor = 10u128.checked_pow(u32::from(decimals - self.decimals))?;
        self.digits.checked_mul(factor)
    }
}

/// Reads a decimal straight into minor units; zero is refused.
///
/// # Errors
/// What is wrong with it.
pub fn parse_amount(text: &str, scale: u8) -> Result<Amount, AmountError> {
    match Decimal::parse(text)?.to_minor(scale)? {
        Amount(0) => Err(AmountError::Zero),
        amount => Ok(amount),
    }
}

/// Minor units as a decimal with exactly `scale` decimals and a point.
#[must_use]
pub fn format_minor(minor: u128, scale: u8) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return minor.to_string();
    }
    let digits = format!("{minor:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_at_every_scale() {
        for (text, scale, minor) in [
            ("1", 2, 100),
            ("1.5", 2, 150),
            ("0.01", 2, 1),
            (".5", 2, 50),
            ("5.", 2, 500),
            (" 12.34 ", 2, 1234),
            ("1200", 0, 1200),
            ("1.234", 3, 1234),
            ("0000000000000000000000000000000000000000001.1", 2, 110),
            ("123456789012345678.99", 2, 12_345_678_901_234_567_899),
        ] {
            assert_eq!(parse_amount(text, scale), Ok(Amount(minor)), "{text}");
        }
    }

    #[test]
    fn what_is_not_an_exact_amount_is_refused() {
        use AmountError::{NotADecimal, TooLong, TooManyDecimals, Zero};
        for (text, scale, error) in [
            ("", 2, NotADecimal),
            (".", 2, NotADecimal),
            ("-1", 2, NotADecimal),
            ("+1", 2, NotADecimal),
            ("1e3", 2, NotADecimal),
            ("1,50", 2, NotADecimal),
            ("1.2.3", 2, NotADecimal),
            ("1 000", 2, NotADecimal),
            ("١٢", 2, NotADecimal),
            (
                "1.001",
                2,
                TooManyDecimals {
                    decimals: 3,
                    scale: 2,
                },
            ),
            (
                "10.000",
                2,
                TooManyDecimals {
                    decimals: 3,
                    scale: 2,
                },
            ),
            (
                "100.0",
                0,
                TooManyDecimals {
                    decimals: 1,
                    scale: 0,
                },
            ),
            ("0", 2, Zero),
            ("0.00", 2, Zero),
            ("1234567890123456789012345678901", 2, TooLong),
        ] {
            assert_eq!(parse_amount(text, scale), Err(error), "{text}");
        }
        assert_eq!(parse_amount("999999999999999999999999999999", 18), Err(TooLong));
    }

    #[test]
    fn decimals_add_up_across_scales() {
        let sum = ["1.5", "0.25", "100", "0.005"]
            .iter()
            .try_fold(Decimal::default(), |sum, text| {
                sum.checked_add(Decimal::parse(text).ok()?)
            });
        let sum = sum.expect("fits");
        assert!(sum.same_value(Decimal::parse("101.7550").expect("a decimal")));
        assert!(!sum.same_value(Decimal::parse("101.756").expect("a decimal")));
        assert_eq!(sum.to_text(), "101.755");
    }

    #[test]
    fn minor_units_are_written_with_the_scale_of_their_ledger() {
        for (minor, scale, text) in [
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (123_456, 2, "1234.56"),
            (1, 0, "1"),
            (1, 3, "0.001"),
        ] {
            assert_eq!(format_minor(minor, scale), text);
        }
    }
}
