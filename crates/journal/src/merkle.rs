//! The Merkle tree over a body (pure). Owns: where leaves are cut, and their root as in RFC 6962.

use crate::codec::GROUP_EVENTS;
use aws_lc_rs::digest::{Context, SHA256};

/// Where the leaves of a body end. A leaf holds whole groups, as many as come to at most 64 events;
/// so every entry of more than 64 events begins a leaf of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaves {
    /// Ends of all leaves but the last, which ends with the body.
    ends: Vec<usize>,
    /// Events in the open leaf.
    weight: usize,
}

impl Leaves {
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.weight = 0;
    }

    /// A group that begins at `start` with `events` events (at least 1, at most 64) was added.
    #[inline]
    pub(crate) fn group(&mut self, start: usize, events: usize) {
        let events = events.max(1);
        if self.weight + events > GROUP_EVENTS && self.weight > 0 {
            self.ends.push(start);
            self.weight = 0;
        }
        self.weight += events;
    }

    /// Root of the tree whose leaves these are.
    pub(crate) fn root(&self, body: &[u8]) -> [u8; 32] {
        let mut tree = Tree::default();
        let mut start = 0;
        for &end in self.ends.iter().chain(std::iter::once(&body.len())) {
            tree.push(leaf(&body[start..end]));
            start = end;
        }
        tree.root()
    }
}

fn leaf(bytes: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(bytes);
    finish(context)
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

pub(crate) fn finish(context: Context) -> [u8; 32] {
    context
        .finish()
        .as_ref()
        .try_into()
        .expect("SHA-256 gives 32 bytes")
}

/// Roots of the complete subtrees so far, the largest first: as many as there are ones in the number of leaves.
#[derive(Default)]
struct Tree {
    roots: Vec<[u8; 32]>,
    leaves: u64,
}

impl Tree {
    fn push(&mut self, leaf: [u8; 32]) {
        let mut root = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.roots.pop().expect("a one in the count stands for a subtree");
            root = node(&left, &root);
        }
        self.roots.push(root);
        self.leaves += 1;
    }

    fn root(mut self) -> [u8; 32] {
        let Some(mut root) = self.roots.pop() else {
            return finish(Context::new(&SHA256));
        };
        while let Some(left) = self.roots.pop() {
            root = node(&left, &root);
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in RFC 6962, section 2.1, word for word.
    fn naive(leaves: &[Vec<u8>]) -> [u8; 32] {
        match leaves {
            [] => finish(Context::new(&SHA256)),
            [only] => leaf(only),
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                node(&naive(&leaves[..half]), &naive(&leaves[half..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_for_any_number_of_leaves() {
        for count in 0..70_u8 {
            let leaves: Vec<Vec<u8>> = (0..count).map(|i| vec![i; usize::from(i)]).collect();
            let mut tree = Tree::default();
            leaves.iter().for_each(|bytes| tree.push(leaf(bytes)));
            assert_eq!(tree.root(), naive(&leaves), "{count} leaves");
        }
    }

    #[test]
    fn leaves_hold_whole_groups_of_at_most_64_events() {
        let mut leaves = Leaves::default();
        // Starts of groups are their numbers here.
        for (start, events) in [30, 34, 1, 64, 64, 0, 63, 1].into_iter().enumerate() {
            leaves.group(start, events);
        }
        assert_eq!(leaves.ends, [2, 3, 4, 5, 7]);
    }
}
