//! What schedules of a cluster met (pure). Owns: the counts, and how they are told.

use std::fmt;
use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)*) => {
        /// Counts of one schedule or of many. A fault that never happens proves nothing: they are printed with every run.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ClusterStatistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl ClusterStatistics {
            /// Each count with what it counts.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$name),)*]
            }
        }

        impl AddAssign for ClusterStatistics {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Schedules.
    seeds: "schedules",
    /// Steps taken.
    steps: "steps",
    /// Blocks that became final.
    blocks: "final blocks",
    /// Events that clients heard of.
    acknowledged_events: "events acknowledged",
    /// Requests whose outcome the client does not know.
    unknown: "unknown outcomes",
    /// Requests refused because nobody writes.
    unavailable: "requests without a writer",
    /// Requests that a follower passed on.
    forwarded: "requests passed on",
    /// Answered after a question to the election.
    linearizable: "linearizable reads",
    /// Answered by a follower that is fresh enough.
    bounded: "bounded reads",
    /// Answered by any node.
    any: "reads of any age",
    /// Blocks that a follower took from the writer.
    fed: "blocks fed",
    /// Blocks that a follower took from the journal.
    followed: "blocks followed in the journal",
    /// Terms that began in the election.
    elections: "elections",
    /// Terms that began in the journal.
    terms: "terms begun",
    /// Attempts to begin one that failed.
    failed_terms: "terms not begun",
    /// Nodes that were elected and left it to others, their clocks being ahead.
    ahead: "elections given up for a clock that is ahead",
    /// Writers whose append was refused.
    stepped_down: "writers that stepped down",
    /// Writers whose append had no known outcome.
    unknown_appends: "appends with unknown outcome",
    /// Blocks of unknown outcome, or of a writer that is gone, that turned out to stand.
    settled: "blocks settled by a later term",
    /// Moments in which two nodes believed that they lead.
    double_beliefs: "moments with two who believe",
    /// Nodes killed.
    kills: "nodes killed",
    /// Nodes that came back.
    starts: "nodes started",
    /// Servers killed.
    servers_killed: "servers killed",
    /// Standbys promoted.
    failovers: "failovers",
    /// Promotions that the fence held back.
    held_back: "promotions held back",
    /// Times in which two servers took writes.
    two_primaries: "moments with two primaries",
    /// Records lost where an old primary was rewound.
    rewound: "servers rewound",
    /// Commits whose wait was cancelled.
    cancelled: "commits cancelled",
    /// Times the standbys' names were emptied.
    loosened: "times commits waited for nobody",
}

impl fmt::Display for ClusterStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<_> = self
            .all()
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        f.write_str(&told.join(", "))
    }
}
