//! Users and rights of the machine that we are on.

use crate::ClusterError;
use std::path::Path;

/// A system user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: u32,
    /// Its first group's number.
    pub group: u32,
}

/// Whether we may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Refuses unless we are root.
pub fn require_root(why: &'static str) -> Result<(), ClusterError> {
    if is_root() {
        Ok(())
    } else {
        Err(ClusterError::NeedsRoot(why))
    }
}

/// A user by name, from `/etc/passwd`: the users that we need come from Debian's packages, so they are there.
pub fn user(name: &str) -> Result<User, ClusterError> {
    let file = Path::new("/etc/passwd");
    let text = std::fs::read_to_string(file).map_err(|e| ClusterError::io("read", file, e))?;
    for line in text.lines() {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            continue;
        }
        let id = fields.nth(1).and_then(|n| n.parse().ok());
        let group = fields.next().and_then(|n| n.parse().ok());
        if let (Some(id), Some(group)) = (id, group) {
            return Ok(User { id, group });
        }
    }
    let problem = format!("has no user {name}; it comes with the package of the same program");
    Err(ClusterError::Damaged {
        path: file.to_owned(),
        problem,
    })
}

/// Gives a file or directory to a user.
pub fn give(path: &Path, user: &User) -> Result<(), ClusterError> {
    std::os::unix::fs::chown(path, Some(user.id), Some(user.group))
        .map_err(|e| ClusterError::io("change the owner of", path, e))
}
