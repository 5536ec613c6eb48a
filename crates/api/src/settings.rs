//! What a node says in its status of the settings that it applies. Owns: that text's place. Must not: know any setting.

use std::sync::Mutex;

/// The settings that are applied, and what is wrong with those that are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsStatus {
    /// Their version; none where the node's own file alone counts.
    pub version: Option<u64>,
    /// `etcd`, `copy` or `file`.
    pub origin: &'static str,
    /// Why the document in etcd is not applied; none where it is.
    pub problem: Option<String>,
}

/// The status as of now; none at a node that follows no settings.
#[derive(Debug, Default)]
pub struct LiveStatus(Mutex<Option<SettingsStatus>>);

impl LiveStatus {
    /// It is this from now on.
    ///
    /// # Panics
    /// When a thread panicked in the middle of it, which stops the process.
    pub fn set(&self, status: SettingsStatus) {
        *self.0.lock().expect("nobody panics while holding it") = Some(status);
    }

    pub(crate) fn get(&self) -> Option<SettingsStatus> {
        self.0.lock().expect("nobody panics while holding it").clone()
    }
}
