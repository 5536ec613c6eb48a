//! The payments crate.
