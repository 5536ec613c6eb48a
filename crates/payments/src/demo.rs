//! A made-up bank to try things with. Owns: the files of `demo/`, embedded. `examples/generate_demo.rs` writes them.

/// The mapping file.
pub const MAPPING_TOML: &str = include_str!("../demo/mapping.toml");

/// Opening balances.
pub const OPENING_CSV: &[u8] = include_bytes!("../demo/opening.csv");

/// Some 3,000 payments in pain.001.001.09: salaries, suppliers, card settlements; some must be refused.
pub const PAYMENTS_XML: &[u8] = include_bytes!("../demo/payments.xml");

/// Sixty rents, as CSV.
pub const RENTS_CSV: &[u8] = include_bytes!("../demo/rents.csv");
