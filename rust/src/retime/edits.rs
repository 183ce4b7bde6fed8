//! Changes: factors of own time, and changes of calls.
//!
//! ```text
//! span of class c ─ set[c] → row of the tables:  phase → factor of own time, changes that it is part of
//! ```

use crate::attribute::Phase;

/// Changes of calls at once, at most: each is a bit.
pub const MOST_CALL_EDITS: usize = 32;

/// Largest factor, and largest time of a change.
pub const LARGEST: i64 = 1 << 60;

/// Largest time of a change in units: no sum over a tree leaves 128 bits.
const LARGEST_TIME: i128 = 1 << 90;

/// Units that a nanosecond of own time takes, in both readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    /// If all siblings that had ended were waited for.
    pub all: i64,
    /// If only the last was.
    pub last: i64,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// It takes this many ns, and `unseen` more if the other side sent no span.
    Takes {
        /// ns.
        ns: i64,
        /// ns.
        unseen: i64,
    },
    /// It takes at most this many ns.
    AtMost(i64),
    /// It takes this many ns more.
    Plus(i64),
    /// Of several in a request only the first is made.
    Once,
    /// It is not made.
    Gone,
}

/// A change of calls: of every span with own time in the change's phases that is below no other such.
#[derive(Debug)]
pub struct CallEdit {
    /// What happens.
    pub op: Op,
    /// Request → whether it happens there; empty: everywhere.
    pub chosen: Vec<bool>,
    /// Number of a named call, 0 for none → how its calls vary, in ns: what one took above the first number, at most up
    /// to the second, it takes more than [`Op::Takes`] says. Empty: they do not vary.
    pub varies: Vec<(i64, i64)>,
}

impl CallEdit {
    /// What a call that took so long takes more than others of its name.
    pub fn more_of(&self, class: u32, took: i64) -> i64 {
        self.varies.get(class as usize).map_or(0, |&(least, most)| (took.min(most) - least).max(0))
    }
}

/// All changes.
#[derive(Debug, Default)]
pub struct Edits {
    /// Units in a nanosecond.
    pub unit: i64,
    /// Number of a named call, 0 for none → set. What is below a named call is of its class. Empty: all of set 0.
    pub set: Vec<u16>,
    /// Set, phase → factor.
    pub factors: Vec<Vec<Factor>>,
    /// Set, phase → bits of the call edits that it is part of.
    pub part_of: Vec<Vec<u32>>,
    /// Set → bits of the call edits that the named call itself is, with the span around it.
    pub whole: Vec<u32>,
    /// By bit.
    pub calls: Vec<CallEdit>,
    /// Signature → number of the children that run together with it, 0 for none.
    pub together: Vec<u16>,
}

impl Edits {
    /// Every number is one of those that there are, and none is so large that a sum overflows.
    pub fn fits(&self, signatures: usize, phases: usize, requests: usize, names: usize) -> bool {
        let sets = self.factors.len();
        let small = |value: i64| (0..=LARGEST).contains(&value);
        let short = |ns: i64| small(ns) && i128::from(ns) * i128::from(self.unit) <= LARGEST_TIME;
        let bits = |bits: u32| self.calls.len() >= 32 || bits >> self.calls.len() == 0;
        (1..=LARGEST).contains(&self.unit)
            && sets > 0
            && self.part_of.len() == sets
            && self.whole.len() == sets
            && self.calls.len() <= MOST_CALL_EDITS
            && self.together.len() == signatures
            && (self.set.is_empty() || self.set.len() == names + 1)
            && self.set.iter().all(|&set| usize::from(set) < sets)
            && self.factors.iter().all(|row| row.len() == phases)
            && self.factors.iter().flatten().all(|factor| small(factor.all) && small(factor.last))
            && self.part_of.iter().all(|row| row.len() == phases)
            && self.part_of.iter().flatten().chain(&self.whole).all(|&row| bits(row))
            && self.calls.iter().all(|edit| edit.chosen.is_empty() || edit.chosen.len() == requests)
            && self.calls.iter().flat_map(|edit| &edit.varies).all(|&(least, most)| least >= 0 && most >= 0)
            && self.calls.iter().all(|edit| match edit.op {
                Op::Takes { ns, unseen } => small(ns) && small(unseen) && short(ns + unseen),
                Op::AtMost(ns) | Op::Plus(ns) => short(ns),
                Op::Once | Op::Gone => true,
            })
    }

    /// The set of a named call.
    pub fn set_of(&self, class: u32) -> usize {
        self.set.get(class as usize).map_or(0, |&set| usize::from(set))
    }

    /// Whether a phase stays as it is.
    pub fn keeps(&self, set: usize, phase: Phase) -> bool {
        let Factor { all, last } = self.factors[set][usize::from(phase)];
        all == self.unit && last == self.unit && self.part_of[set][usize::from(phase)] == 0
    }
}
