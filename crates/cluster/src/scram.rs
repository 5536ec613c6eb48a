//! SCRAM-SHA-256 verifiers as PostgreSQL and PgBouncer store them, so that neither is ever given a password to keep.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

/// PostgreSQL's own default.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not zero");

/// `SCRAM-SHA-256$iterations:salt$stored key:server key`. The salt comes from the password, which is random itself, so
/// that rendering twice gives the same file and PgBouncer's copy equals the server's.
pub fn verifier(role: &str, password: &str) -> String {
    let salt = sign(password.as_bytes(), format!("shanraq salt of {role}").as_bytes());
    let salt = &salt.as_ref()[..16];
    let mut salted = [0_u8; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    let stored = digest::digest(&digest::SHA256, sign(&salted, b"Client Key").as_ref());
    let server = sign(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_the_same_each_time_and_another_for_each_role() {
        let one = verifier("reader", "a password");
        assert_eq!(one, verifier("reader", "a password"));
        assert_ne!(one, verifier("writer", "a password"));
        assert_eq!(one.len(), "SCRAM-SHA-256$4096:".len() + 24 + 1 + 44 + 1 + 44);
    }
}
