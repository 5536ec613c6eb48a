//! Files and keys, behind small traits.
//!
//! Owns: the seam between the product and the disk ([`Storage`], [`StorageFile`]) and data keys ([`KeyRing`]).
//! Must not: know what is in the files. Everything above reaches the disk through this seam only, so that
//! the simulator can tear writes, flip bits and fill the disk below the real code.

pub mod faulty;
mod fs;
mod keys;

pub use fs::{DirectoryLock, FileSystem, Storage, StorageFile};
pub use keys::{DataKey, KeyError, KeyId, KeyRing, NONCE_BYTES, Nonce, TAG_BYTES};
