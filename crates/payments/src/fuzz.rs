//! Entry points for fuzzing: whatever the bytes are, these return. Owns: nothing.

use crate::{Mapping, demo};

/// Reads bytes as pain.001 and plans what was read; the result is dropped.
pub fn fuzz_pain001(bytes: &[u8]) {
    if let (Ok(file), Ok(mapping)) = (crate::read_pain001(bytes, &mut |_| ()), mapping()) {
        crate::plan::plan_everything(&mapping, &file);
    }
}

/// Reads bytes as CSV and plans what was read; the result is dropped.
pub fn fuzz_csv(bytes: &[u8]) {
    let Ok(mapping) = mapping() else { return };
    if let Ok(file) = crate::read_csv(bytes, &mapping, &mut |_| ()) {
        crate::plan::plan_everything(&mapping, &file);
    }
}

/// Reads bytes as a mapping file; the result is dropped.
pub fn fuzz_mapping(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Mapping::parse(text, "fuzz");
    }
}

fn mapping() -> Result<Mapping, crate::PaymentsError> {
    Mapping::parse(demo::MAPPING_TOML, "demo")
}
