//! The records of a key, in order of their numbers, from files and memory alike. Owns: seeking in them and joining
//! several keys. Numbers may belong to another value with the same hash, so that each is verified by who asks.

use crate::view::{Of, View};
use crate::{HistoryError, Order};

/// The newest postings of a memtable come in pieces of this size.
const CHAIN_PIECE: usize = 512;

/// The numbers of one key. Targets of [`Postings::seek`] must follow the order.
pub(crate) struct Postings<'v> {
    view: &'v View,
    of: Of,
    key: u64,
    order: Order,
    /// Runs, then memories; how many were left behind in the order.
    passed: usize,
    /// A piece of what is at `passed`, rising.
    piece: Vec<u64>,
    /// Newest first in a memory: the link that comes next; `None` before the first.
    link: Option<u32>,
}

impl<'v> Postings<'v> {
    pub fn new(view: &'v View, of: Of, key: u64, order: Order) -> Self {
        Self {
            view,
            of,
            key,
            order,
            passed: 0,
            piece: Vec::new(),
            link: None,
        }
    }

    /// The first number at or beyond `target` in the order.
    pub fn seek(&mut self, target: u64) -> Result<Option<u64>, HistoryError> {
        loop {
            let found = match self.order {
                Order::OldestFirst => self
                    .piece
                    .get(self.piece.partition_point(|&number| number < target)),
                Order::NewestFirst => {
                    let after = self.piece.partition_point(|&number| number <= target);
                    after.checked_sub(1).map(|at| &self.piece[at])
                }
            };
            if let Some(&number) = found {
                return Ok(Some(number));
            }
            if !self.load(target)? {
                return Ok(None);
            }
        }
    }

    /// Gets the piece that follows for a target; `false` at the end.
    fn load(&mut self, target: u64) -> Result<bool, HistoryError> {
        let runs = self.view.durable.runs(self.of);
        let sources = runs.len() + self.view.memories.len();
        while self.passed < sources {
            let source = match self.order {
                Order::OldestFirst => self.passed,
                Order::NewestFirst => sources - 1 - self.passed,
            };
            let loaded = match (runs.get(source), self.order) {
                (Some(run), Order::OldestFirst) => {
                    run.meta.end() > target && run.chunk_from(self.key, target, &mut self.piece)?
                }
                (Some(run), Order::NewestFirst) => {
                    run.meta.first <= target && run.chunk_until(self.key, target, &mut self.piece)?
                }
                (None, _) => self.load_memory(source - runs.len(), target),
            };
            if loaded {
                return Ok(true);
            }
            self.piece.clear();
            self.link = None;
            self.passed += 1;
        }
        Ok(false)
    }

    fn load_memory(&mut self, index: usize, target: u64) -> bool {
        let table = self.of.memory(&self.view.memories[index]);
        let ends_at = self
            .view
            .memories
            .get(index + 1)
            .map(|next| self.of.memory(next).first);
        let out_of_reach = match self.order {
            Order::OldestFirst => ends_at.is_some_and(|end| end <= target),
            Order::NewestFirst => table.first > target,
        };
        if out_of_reach {
            return false;
        }
        let mut link = self.link.unwrap_or_else(|| table.chain_head(self.key));
        match self.order {
            Order::OldestFirst => {
                if self.link.is_some() {
                    return false;
                }
                self.link = Some(0);
                table.chain_from_oldest(link, &mut self.piece);
                self.piece.last().is_some_and(|&last| last >= target)
            }
            Order::NewestFirst => {
                self.piece.clear();
                while link != 0 && self.piece.len() < CHAIN_PIECE {
                    let (relative, before) = table.chain_entry(link);
                    let number = table.first + u64::from(relative);
                    if number <= target {
                        self.piece.push(number);
                    }
                    link = before;
                }
                self.link = Some(link);
                self.piece.reverse();
                !self.piece.is_empty()
            }
        }
    }
}

/// The numbers that stand under any of some keys.
pub(crate) struct AnyOf<'v>(pub Vec<Postings<'v>>);

impl AnyOf<'_> {
    fn seek(&mut self, target: u64) -> Result<Option<u64>, HistoryError> {
        let mut best: Option<u64> = None;
        for postings in &mut self.0 {
            if let Some(found) = postings.seek(target)? {
                best = Some(match (best, postings.order) {
                    (None, _) => found,
                    (Some(best), Order::OldestFirst) => best.min(found),
                    (Some(best), Order::NewestFirst) => best.max(found),
                });
            }
        }
        Ok(best)
    }
}

/// The numbers in a range that stand under one key of every group; with no group, all of the range.
pub(crate) struct Candidates<'v> {
    groups: Vec<AnyOf<'v>>,
    order: Order,
    /// What is left: from `low` up to below `high`.
    low: u64,
    high: u64,
}

impl<'v> Candidates<'v> {
    pub fn new(groups: Vec<AnyOf<'v>>, order: Order, low: u64, high: u64) -> Self {
        Self {
            groups,
            order,
            low,
            high,
        }
    }

    /// The next one in the order.
    pub fn next(&mut self) -> Result<Option<u64>, HistoryError> {
        while self.low < self.high {
            let target = match self.order {
                Order::OldestFirst => self.low,
                Order::NewestFirst => self.high - 1,
            };
            let mut agreed = target;
            for group in &mut self.groups {
                let Some(found) = group.seek(agreed)? else {
                    self.high = self.low;
                    return Ok(None);
                };
                agreed = found;
                if agreed != target {
                    break;
                }
            }
            match self.order {
                Order::OldestFirst => self.low = agreed,
                Order::NewestFirst if agreed < self.low => self.high = self.low,
                Order::NewestFirst => self.high = agreed + 1,
            }
            if agreed == target {
                match self.order {
                    Order::OldestFirst => self.low += 1,
                    Order::NewestFirst => self.high -= 1,
                }
                return Ok(Some(agreed));
            }
        }
        Ok(None)
    }
}
