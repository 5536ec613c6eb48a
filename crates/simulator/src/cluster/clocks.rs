//! The nodes' clocks of the day, of which one may be an hour ahead. Owns: who knows whose, whether a term may begin by the
//! node's own rule (`node::judge`), and what no block may be stamped beyond.

use super::ClusterCanary;
use super::world::{NODES, Place, World};
use crate::{Broken, ensure};
use journal::Block;
use ledger::TimestampNs;
use node::{Clock, ClockRange, Clocks, Verdict, judge};

/// Right clocks differ by less.
pub const SPREAD_NS: u64 = 300_000_000;
/// What a wrong clock is ahead by.
const WRONG_NS: u64 = 3_600_000_000_000;
/// What a block's timestamp may be ahead of the right time by: what the rule allows, and what right clocks differ by.
const AHEAD_MAX_NS: u64 = 1_000_000_000;

/// Sets one of the clocks wrong, in one schedule of six.
pub fn set_one_wrong(nodes: &[Place]) {
    let mut unlucky = nodes.iter().filter(|place| place.clock.now().0 % 16 == 0);
    if let Some(place) = unlucky.next() {
        place.clock.advance(WRONG_NS);
    }
}

impl World {
    /// A node asks those whom it reaches for their clocks; what it heard stays true, as all run alike.
    pub(super) fn ask_for_clocks(&mut self, node: usize) {
        let answers: [bool; NODES] = std::array::from_fn(|other| {
            other != node && self.links[node][other] && self.nodes[other].life.is_some()
        });
        if let Some(life) = &mut self.nodes[node].life {
            for (heard, answers) in life.heard.iter_mut().zip(answers) {
                *heard |= answers;
            }
        }
    }

    /// Whether the node's clock keeps it from becoming the writer, as far as it knows. The witness is asked by who was elected.
    pub(super) fn is_ahead(&self, node: usize, witness: Option<TimestampNs>) -> bool {
        if self.canary == Some(ClusterCanary::AnyClock) {
            return false;
        }
        let own = self.nodes[node].clock.now().0;
        let less = |time: u64| {
            let ns = i128::from(time) - i128::from(own);
            ClockRange { least: ns, most: ns }
        };
        let heard = self.nodes[node].life.as_ref().map(|life| life.heard);
        let heard = heard.unwrap_or_default();
        let others = (0..NODES).filter(|other| heard[*other]);
        let others = others.map(|other| less(self.nodes[other].clock.now().0));
        let clocks = Clocks {
            members: NODES,
            known: std::iter::once(less(own)).chain(others).collect(),
            ledger: None,
            witness: witness.map(|time| less(time.0)),
        };
        matches!(judge(&clocks), Verdict::Ahead { .. })
    }

    /// Nobody may stamp a block far ahead of the right time: it would expire holds for ever.
    pub(super) fn check_time(&self, block: &Block) -> Result<(), Broken> {
        let (stamped, right) = (block.last_event_timestamp(), self.right.now());
        ensure!(
            stamped.0 <= right.0 + AHEAD_MAX_NS,
            "block {} is stamped {} ms ahead of the right time",
            block.height,
            (stamped.0 - right.0) / 1_000_000
        );
        Ok(())
    }
}
