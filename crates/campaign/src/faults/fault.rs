//! The faults by name (pure). Owns: which there are, and whether the cluster must write on before they are healed.

use std::fmt;
use std::str::FromStr;

/// What is to happen before a fault is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Writes go on, or come back by themselves: it is held until they do.
    Recovery,
    /// Writes must stop, or may: it is held for a drawn time.
    Patience,
    /// As recovery, and what is dangerous comes only when Patroni's leader key runs out: it is held beyond that.
    Failover,
}

macro_rules! faults {
    ($($name:ident $text:literal $expect:ident $what:literal;)*) => {
        /// A fault. `writer`, `primary` and the others are who has the role at that moment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $what] $name,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What happens.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// What is to happen before it is healed.
            #[must_use]
            pub fn expect(self) -> Expect {
                match self { $(Self::$name => Expect::$expect,)* }
            }
        }
    };
}

faults! {
    WriterKill "writer-kill" Recovery "SIGKILL of the writer's node";
    WriterFreeze "writer-freeze" Recovery "SIGSTOP of the writer's node";
    FollowerKill "follower-kill" Recovery "SIGKILL of a follower's node";
    FollowerFreeze "follower-freeze" Recovery "SIGSTOP of a follower's node";
    PrimaryKill "primary-kill" Recovery "SIGKILL of the PostgreSQL primary with all its children";
    PrimaryFreeze "primary-freeze" Recovery "SIGSTOP of the PostgreSQL primary with all its children";
    PostmasterKill "postmaster-kill" Recovery "SIGKILL of the primary's postmaster alone";
    PostmasterFreeze "postmaster-freeze" Recovery "SIGSTOP of the primary's postmaster alone: sessions go on, no new ones";
    ReplicaKill "replica-kill" Recovery "SIGKILL of a PostgreSQL replica";
    ReplicaFreeze "replica-freeze" Recovery "SIGSTOP of a PostgreSQL replica";
    PatroniKill "patroni-kill" Recovery "SIGKILL of the primary's Patroni";
    PatroniFreeze "patroni-freeze" Failover "SIGSTOP of the primary's Patroni";
    EtcdLeaderKill "etcd-leader-kill" Recovery "SIGKILL of the etcd member that leads";
    EtcdLeaderFreeze "etcd-leader-freeze" Recovery "SIGSTOP of the etcd member that leads";
    HaproxyKill "haproxy-kill" Recovery "SIGKILL of a HAProxy";
    HaproxyFreeze "haproxy-freeze" Recovery "SIGSTOP of a HAProxy";
    PgbouncerKill "pgbouncer-kill" Recovery "SIGKILL of a PgBouncer";
    ProjectionKill "projection-kill" Recovery "SIGKILL of the SQL projection that moves the tables";
    AddressHolderKill "address-holder-kill" Recovery "SIGKILL of the HAProxy at the host that holds the shared address, and it stays down";
    AddressHolderFreeze "address-holder-freeze" Recovery "SIGSTOP of the HAProxy at the host that holds the shared address";
    DoubleFreeze "double-freeze" Failover "SIGSTOP of the primary's and of one standby's Patroni: the polled voter goes on acknowledging";
    HostRefusing "host-refusing" Recovery "the primary's host lost: everything killed, connections are refused";
    HostSilent "host-silent" Recovery "the primary's host lost: everything killed, packets get no answer";
    HostEtcdRefusing "host-etcd-refusing" Recovery "the host lost that leads etcd, connections are refused";
    HostEtcdSilent "host-etcd-silent" Recovery "the host lost that leads etcd, packets get no answer";
    PartitionSymmetric "partition-symmetric" Recovery "the primary's host and the others get nothing from each other";
    PartitionOneWay "partition-one-way" Recovery "the others get nothing from the primary's host";
    PartitionRing "partition-ring" Patience "each host gets nothing from the next one";
    PartitionNewOnly "partition-new-only" Recovery "no new connection reaches the primary's host; old ones go on";
    PrimaryReplicas "primary-replicas" Patience "the primary and its replicas lose each other's PostgreSQL";
    WriterEtcd "writer-etcd" Recovery "the writer's host loses etcd, its own member included";
    WriterPostgres "writer-postgres" Recovery "the writer's host loses the primary";
    PacketLoss "packet-loss" Recovery "every line between hosts loses 1 to 5 % of the packets";
    PacketDelay "packet-delay" Recovery "packets between hosts come 10 to 30 ms late, half of that as jitter";
    BusyAndFar "busy-and-far" Recovery "1 % of the packets between hosts are lost, the others come up to 40 ms late, and every core is busy";
    EtcdQuorum "etcd-quorum" Patience "two of three etcd members are frozen until they are healed";
    DataFull "data-full" Patience "the disk with the primary's data is full";
    WalFull "wal-full" Patience "the disk with the primary's log is full";
    BackendCancel "backend-cancel" Recovery "pg_cancel_backend of the committing session, again and again";
    BackendTerminate "backend-terminate" Recovery "pg_terminate_backend of the committing session, a few times";
    BackendCrash "backend-crash" Recovery "SIGKILL of the committing session: PostgreSQL restarts all sessions";
    FastShutdown "fast-shutdown" Recovery "a fast shutdown of the primary under the committing session";
    SyncEmptied "sync-emptied" Patience "synchronous_standby_names emptied behind our back";
    SyncLoosened "sync-loosened" Patience "synchronous_standby_names set to ANY 1 (*) behind our back";
    CommitLocal "commit-local" Patience "synchronous_commit set to local behind our back";
    ClockAhead "clock-ahead" Recovery "the next writer's clock is an hour ahead when it takes over";
    ClockBehind "clock-behind" Recovery "the next writer's clock is an hour behind when it takes over";
    Handover "handover" Recovery "no fault: the writer hands over by command";
    RollingNodes "rolling-nodes" Recovery "each node in turn, stopped in good order and started";
    RollingRestart "rolling-restart" Recovery "node, PostgreSQL, etcd and HAProxy of each host in turn, in good order";
    TwoAtOnce "two-at-once" Patience "two of the kills and freezes at one moment, on hosts drawn apart";
}

impl Fault {
    /// Whether it can move PostgreSQL's primary, so that how long it lasts depends on a sentinel that may act.
    #[must_use]
    pub fn can_move_the_primary(self) -> bool {
        use Fault::*;
        !matches!(
            self,
            WriterKill
                | WriterFreeze
                | FollowerKill
                | FollowerFreeze
                | ReplicaKill
                | ReplicaFreeze
                | PatroniKill
                | PostmasterFreeze
                | EtcdLeaderKill
                | HaproxyKill
                | HaproxyFreeze
                | PgbouncerKill
                | ProjectionKill
                | AddressHolderKill
                | AddressHolderFreeze
                | BusyAndFar
                | BackendCancel
                | BackendTerminate
                | SyncEmptied
                | SyncLoosened
                | CommitLocal
                | ClockAhead
                | ClockBehind
                | Handover
                | RollingNodes
        )
    }

    /// The fault of a round by its seed: all of some faults in turn, but not next to each other those that stand next to each other
    /// in the list. They are alike, and a cluster needs half a minute before it can lose its primary again.
    ///
    /// # Panics
    /// Without faults.
    #[must_use]
    pub fn of_seed(faults: &[Self], seed: u64) -> Self {
        let count = faults.len() as u64;
        let shares_no_divisor =
            |step: &u64| (2..=*step).all(|it| !step.is_multiple_of(it) || !count.is_multiple_of(it));
        // Near the golden section, as leaves grow around a stem.
        let mut steps = count * 382 / 1_000..=count;
        let step = steps.find(|step| *step > 0 && shares_no_divisor(step));
        let step = step.expect("one less than a number shares no divisor with it");
        let at = (seed % count) * step % count;
        faults[usize::try_from(at).expect("less than their number")]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|fault| fault.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("no fault is named {text:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_come_in_turn_and_those_that_are_alike_apart() {
        for count in 1..=Fault::ALL.len() {
            let faults = &Fault::ALL[..count];
            let mut turn: Vec<Fault> = (1_000..)
                .take(count)
                .map(|seed| Fault::of_seed(faults, seed))
                .collect();
            turn.sort_unstable();
            assert_eq!(turn, faults, "{count}");
        }
        let turn: Vec<Fault> = (0..Fault::ALL.len() as u64)
            .map(|seed| Fault::of_seed(Fault::ALL, seed))
            .collect();
        let hosts = |fault: &Fault| fault.name().starts_with("host-");
        assert!(
            turn.windows(3)
                .all(|three| three.iter().filter(|fault| hosts(fault)).count() < 2)
        );
    }

    #[test]
    fn every_fault_reads_as_it_is_written() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(*fault));
        }
        let error = "writer-kil".parse::<Fault>().unwrap_err();
        assert!(
            error.contains("writer-kil") && error.contains("two-at-once"),
            "{error}"
        );
    }
}
