//! Filters over the newest rows, whatever memory or run they are in. Owns: which rows are covered, and by how many
//! filters. Runs have filters of their own, but there are dozens of young runs, and an id that is new would be asked of
//! each: a cache line from memory every time. A cover spans the rows of many runs, so that it is asked of a few.

use crate::bloom::Bloom;
use crate::run::Bounds;
use std::sync::{Arc, OnceLock};

/// A cover ends after about so many flushes.
const FLUSHES: u64 = 32;
/// How many are kept; rows below the first of them are left to the filters of runs, which are few by then.
const COVERS_MAX: usize = 16;

/// A filter over all unique keys of the rows from `first` on up to the next cover.
pub(crate) struct Cover {
    pub first: u64,
    filter: Bloom,
    /// Bounds of ids and of pending transfers, once no more can come.
    bounds: OnceLock<(Bounds, Bounds)>,
}

impl Cover {
    fn new(first: u64, flush_rows: u32) -> Self {
        Self {
            first,
            filter: Bloom::for_keys(u64::from(flush_rows) * FLUSHES),
            bounds: OnceLock::new(),
        }
    }

    /// Whether a key may be in a row of this cover, given whether its id is within the bounds (told when they are known).
    #[inline]
    pub fn may_contain(&self, key: u64, in_bounds: impl Fn(&Bounds, &Bounds) -> bool) -> bool {
        let possible = self
            .bounds
            .get()
            .is_none_or(|(ids, pendings)| in_bounds(ids, pendings));
        possible && self.filter.may_contain(key)
    }
}

/// The covers, and how full the newest is; bounds up to the last flush. For the one filling thread.
pub(crate) struct Covers {
    /// The oldest first; the last one is being filled.
    all: Vec<Arc<Cover>>,
    keys: u64,
    ids: Bounds,
    pendings: Bounds,
    flush_rows: u32,
}

impl Covers {
    /// For the rows from `first` on.
    pub fn new(first: u64, flush_rows: u32) -> Self {
        Self {
            all: vec![Arc::new(Cover::new(first, flush_rows))],
            keys: 0,
            ids: Bounds::default(),
            pendings: Bounds::default(),
            flush_rows,
        }
    }

    /// For a view.
    pub fn all(&self) -> &[Arc<Cover>] {
        &self.all
    }

    #[inline]
    fn newest(&self) -> &Cover {
        self.all.last().expect("there is always one")
    }

    /// Begins to fetch where the key's bits are. What it gives means nothing, but must be used.
    #[inline]
    pub fn touch(&self, key: u64) -> u64 {
        self.newest().filter.touch(key)
    }

    /// Adds a unique key.
    #[inline]
    pub fn insert(&mut self, key: u64) {
        self.newest().filter.insert(key);
        self.keys += 1;
    }

    /// Between two flushes, given the bounds of what came since the last: ends the newest cover when it is full; the next
    /// one begins with row `next_row`.
    pub fn turn(&mut self, next_row: u64, (ids, pendings): (Bounds, Bounds)) {
        self.ids = self.ids.join(ids);
        self.pendings = self.pendings.join(pendings);
        if self.keys < u64::from(self.flush_rows) * FLUSHES {
            return;
        }
        let bounds = (std::mem::take(&mut self.ids), std::mem::take(&mut self.pendings));
        assert!(self.newest().bounds.set(bounds).is_ok(), "a cover ends once");
        self.all.push(Arc::new(Cover::new(next_row, self.flush_rows)));
        self.keys = 0;
        let surplus = self.all.len().saturating_sub(COVERS_MAX);
        self.all.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{KeyHasher, Tag};

    #[test]
    fn every_key_since_the_oldest_cover_is_admitted_and_strangers_mostly_are_not() {
        const FLUSH_ROWS: u32 = 64;
        let hasher = KeyHasher::new([9; 16]);
        let mut covers = Covers::new(0, FLUSH_ROWS);
        let mut ids = Bounds::default();
        let rows = u64::from(FLUSH_ROWS) * FLUSHES * (COVERS_MAX as u64 + 4);
        for row in 0..rows {
            if row % u64::from(FLUSH_ROWS) == 0 {
                covers.turn(row, (std::mem::take(&mut ids), Bounds::default()));
            }
            covers.insert(hasher.key(Tag::Id, u128::from(row)));
            ids.add(u128::from(row));
        }
        let all = covers.all();
        assert_eq!(all.len(), COVERS_MAX);
        let oldest = all[0].first;
        assert!(oldest > 0, "the first covers were dropped");
        let admitted = |id: u64| {
            let key = hasher.key(Tag::Id, u128::from(id));
            all.iter()
                .any(|cover| cover.may_contain(key, |ids, _| ids.contains(u128::from(id))))
        };
        assert!((oldest..rows).all(admitted));
        assert!((rows..2 * rows).filter(|&id| admitted(id)).count() < rows as usize / 100);
        let dropped = (0..oldest).filter(|&id| admitted(id)).count();
        assert!(
            dropped < oldest as usize / 100,
            "{dropped} of {oldest} older ones are admitted"
        );
    }
}
