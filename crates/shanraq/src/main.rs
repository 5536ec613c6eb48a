//! The `shanraq` binary.
fn main() {}
