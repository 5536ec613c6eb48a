//! Who takes part, for whoever asks without taking part. Must not: write anything.

use crate::view::{Keys, View};
use crate::{ElectionError, Present};
use etcd::{Client, under};

/// The members that are there, by name, by a linearizable read. `key_prefix` is that of [`crate::ElectionOptions`].
///
/// # Errors
/// [`ElectionError::Unreachable`], or [`ElectionError::Value`] when a member's entry is not understood.
pub async fn present(etcd: &Client, key_prefix: &str) -> Result<Vec<Present>, ElectionError> {
    let keys = Keys::new(key_prefix);
    let answer = etcd.range("read the election's keys", &under(&keys.all)).await?;
    View::read(&keys, answer).present()
}
