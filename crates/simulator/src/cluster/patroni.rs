//! Who is the primary. Owns: the keys of a fake Patroni, and when a standby is promoted. With the fence the verdict is that of
//! [`sentinel::fence::judge`] itself; without it a poll that binds nobody is enough, as in stock Patroni.

use super::servers::Servers;
use super::wal::SERVERS;
use sentinel::fence::{Position, Sight, Verdict, judge};
use sentinel::{Electorate, ServerName};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
pub struct Patroni {
    /// Who has the leader key.
    pub leader: Option<usize>,
    /// For the canary.
    is_unfenced: bool,
    /// Who was promoted last.
    last: usize,
    sync: Electorate,
    /// Who was let through by a fence since `sync` was written.
    passed: BTreeSet<ServerName>,
}

fn name(server: usize) -> ServerName {
    format!("h{server}").as_str().into()
}

fn electorate(leader: usize) -> Electorate {
    Electorate {
        leader: name(leader),
        voters: (0..SERVERS).filter(|other| *other != leader).map(name).collect(),
        quorum: 1,
    }
}

impl Patroni {
    /// The first server leads.
    pub fn new(is_unfenced: bool) -> Self {
        Self {
            leader: Some(0),
            last: 0,
            is_unfenced,
            sync: electorate(0),
            passed: BTreeSet::new(),
        }
    }

    /// The primary writes down who may confirm its commits.
    pub fn write_sync(&mut self, servers: &Servers) -> bool {
        let Some(leader) = self.leader.filter(|leader| servers.all[*leader].is_up) else {
            return false;
        };
        if !servers.all[leader].is_primary || self.sync.leader == name(leader) {
            return false;
        }
        self.sync = electorate(leader);
        self.passed.clear();
        true
    }

    /// The primary takes the key that it lost, unless another was promoted after it.
    pub fn resumes(&mut self, servers: &Servers, server: usize) -> bool {
        let resumes = self.leader.is_none() && servers.all[server].is_primary && self.last == server;
        if resumes {
            self.leader = Some(server);
        }
        resumes
    }

    /// A standby wants to be the primary; those that `sees` says it reaches are asked, and with a fence pointed to it first.
    pub fn race(&mut self, servers: &mut Servers, candidate: usize, sees: [bool; SERVERS]) -> Option<String> {
        let own = &servers.all[candidate];
        if self.leader.is_some() || !own.is_up || own.is_primary {
            return None;
        }
        let position = own.position();
        let others = || (0..SERVERS).filter(|other| *other != candidate);
        let is_seen = |servers: &Servers, other: usize| sees[other] && servers.all[other].is_up;
        let standbys: Vec<usize> = others()
            .filter(|other| is_seen(servers, *other) && !servers.all[*other].is_primary)
            .collect();
        if !self.is_unfenced {
            for standby in &standbys {
                servers.all[*standby].upstream = Some(candidate);
            }
        }
        let passes = if self.is_unfenced {
            let behind = |other: &&usize| servers.all[**other].position() <= position;
            standbys.iter().filter(behind).count() == standbys.len() && !standbys.is_empty()
        } else {
            self.judge(servers, candidate, |other| is_seen(servers, other)) == Verdict::Pass
        };
        if !passes {
            return Some(format!("server {candidate} is held back"));
        }
        servers.promote(candidate);
        self.leader = Some(candidate);
        self.last = candidate;
        self.passed.insert(name(candidate));
        Some(format!("server {candidate} is promoted at {position:?}"))
    }

    fn judge(&self, servers: &Servers, candidate: usize, is_seen: impl Fn(usize) -> bool) -> Verdict {
        let of = |server: usize| {
            let (timeline, length) = servers.all[server].position();
            Position {
                timeline,
                lsn: length as u64,
            }
        };
        let sight = |other: usize| {
            if !is_seen(other) {
                return Sight::Unseen("no answer".to_owned());
            }
            match servers.all[other].is_primary {
                true => Sight::Primary,
                false => Sight::Standby {
                    position: Some(of(other)),
                    follows_candidate: servers.follows(other, candidate),
                },
            }
        };
        let others = (0..SERVERS).filter(|other| *other != candidate);
        let sights: BTreeMap<_, _> = others.map(|other| (name(other), sight(other))).collect();
        let mut primaries = self.passed.clone();
        primaries.insert(self.sync.leader.clone());
        judge(&name(candidate), of(candidate), &self.sync, &primaries, &sights)
    }
}
