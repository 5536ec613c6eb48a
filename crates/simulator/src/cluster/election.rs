//! The fake etcd of the nodes: one writer key with a revision. Owns: who has it, and what each node believes of it.
//!
//! A key may vanish while its holder believes in it, and a holder may cease to believe while the key stands: so none writes,
//! or two believe that they do.

/// A term as etcd numbers it.
pub type Revision = u64;

/// What a node believes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Belief {
    /// That it leads, until a moment of its clock.
    pub leads: Option<(Revision, u64)>,
    /// Who writes, as it read last.
    pub writer: Option<usize>,
    /// Whether it reaches etcd.
    pub is_cut_off: bool,
}

/// See the module.
pub struct Election {
    /// The key: which node, which term.
    pub writer: Option<(usize, Revision)>,
    /// By node.
    pub beliefs: Vec<Belief>,
    last: Revision,
}

impl Election {
    /// Nobody leads.
    pub fn new(nodes: usize) -> Self {
        Self {
            writer: None,
            beliefs: vec![Belief::default(); nodes],
            last: 0,
        }
    }

    /// The term in which a node believes that it leads, at a moment.
    pub fn term_now(&self, node: usize, now: u64) -> Option<Revision> {
        let (revision, until) = self.beliefs[node].leads?;
        (now < until).then_some(revision)
    }

    /// A node reads the key, renews what it holds, and takes it where nobody does; it believes until `until`.
    pub fn look(&mut self, node: usize, until: u64, may_write: bool) -> Option<String> {
        if self.beliefs[node].is_cut_off {
            return None;
        }
        let belief = self.beliefs[node];
        let told = match self.writer {
            None if may_write => {
                self.last += 1;
                self.writer = Some((node, self.last));
                self.beliefs[node].leads = Some((self.last, until));
                Some(format!("node {node} is elected, term {}", self.last))
            }
            Some((holder, revision)) if holder == node => {
                // A key of ours that belongs to no term that we believe in is removed, never adopted.
                match belief.leads {
                    Some((ours, _)) if ours == revision => {
                        self.beliefs[node].leads = Some((ours, until));
                        None
                    }
                    _ => {
                        self.writer = None;
                        self.beliefs[node].leads = None;
                        Some(format!("node {node} removes its key"))
                    }
                }
            }
            _ => {
                self.beliefs[node].leads = None;
                None
            }
        };
        self.beliefs[node].writer = self.writer.map(|(holder, _)| holder);
        told
    }

    /// A node gives up what it holds, as far as it reaches etcd.
    pub fn resign(&mut self, node: usize) {
        let belief = &mut self.beliefs[node];
        belief.leads = None;
        if !belief.is_cut_off && self.writer.is_some_and(|(holder, _)| holder == node) {
            self.writer = None;
        }
    }

    /// A linearizable read of the key: whether it is of that node's term.
    pub fn confirms(&self, node: usize, revision: Revision) -> bool {
        !self.beliefs[node].is_cut_off && self.writer == Some((node, revision))
    }

    /// The node's process ended: it believes nothing.
    pub fn forget(&mut self, node: usize) {
        let is_cut_off = self.beliefs[node].is_cut_off;
        self.beliefs[node] = Belief {
            is_cut_off,
            ..Belief::default()
        };
    }
}
