//! When a span's children would start, and when it would end, after a change to its parts.
//!
//! ```text
//! s  |--g--|==a==|-g-|====b====|--g--|      b began after a had ended: it waits for a
//!          |==c======|                      c began when a did: it waits for what a waited for
//! s' |g|==a==|g|=========b=========|g|
//! ```
//!
//! A child starts after the siblings that had ended before it, and the gap that was between is its parent's own time.
//! A span ends after its children, and the gap behind them is its own time. What happens at the same time goes on
//! doing so. Two readings bound what dependences there may be: all that had ended were waited for, or only the last.

use crate::numbers::u32_of;
use std::cmp::Ordering;

/// A time in both readings, in the units of the edits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Every sibling that had ended was waited for.
    pub all: i128,
    /// Only the one that ended last was.
    pub last: i128,
}

impl Times {
    /// The same in both readings.
    pub fn same(time: i128) -> Self {
        Self { all: time, last: time }
    }

    /// The later one of each.
    pub fn max(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), last: self.last.max(other.last) }
    }
}

impl std::ops::Add for Times {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, last: self.last + other.last }
    }
}

impl std::ops::Sub for Times {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { all: self.all - other.all, last: self.last - other.last }
    }
}

/// A span as its parent sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Child {
    /// Effective start, ns.
    pub start: i64,
    /// Effective end.
    pub end: i64,
    /// Breaks ties.
    pub id: u64,
    /// How long it takes now.
    pub takes: Times,
    /// The parent waits for it: it was not cut off where the parent ended.
    pub waited_for: bool,
    /// Runs at once with its neighbours of the same number, whatever their times say; 0: nothing is known.
    pub together: u16,
}

/// Of some siblings that had ended by an instant: when the last of them did, and when they do now.
#[derive(Debug, Clone, Copy)]
struct Ended {
    /// ns since the epoch.
    at: i64,
    /// From the parent's start on.
    now: Times,
}

impl Ended {
    /// With one more, or others. Of two that ended at the same instant both were the last.
    fn with(self, at: i64, now: Times) -> Self {
        let last = match at.cmp(&self.at) {
            Ordering::Less => self.now.last,
            Ordering::Equal => self.now.last.max(now.last),
            Ordering::Greater => now.last,
        };
        Self { at: at.max(self.at), now: Times { all: self.now.all.max(now.all), last } }
    }

    /// With one more of those that run together: a span that waits for one of them waits for all.
    fn and(self, at: i64, now: Times) -> Self {
        Self { at, now: self.now.max(now) }
    }
}

/// Children that run together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    number: u16,
    /// Place of the first one, in the order of starts.
    first: usize,
}

/// Scratch memory of [`Schedule::takes`].
#[derive(Debug, Default)]
pub struct Schedule {
    /// Places in the order of starts, by end.
    by_end: Vec<u32>,
    /// When each ends now, from the parent's start on.
    ends: Vec<Times>,
}

impl Schedule {
    /// How long a span of this effective interval takes now. Children come in any order, and are sorted.
    ///
    /// `own(t)` is how long the span's own time from its start to t takes, were it all its own; `own(start)` is 0.
    /// O(n log n), and as many calls of `own`.
    pub fn takes(
        &mut self,
        (start, end): (i64, i64),
        children: &mut [Child],
        own: impl Fn(i64) -> Times,
    ) -> Times {
        match children {
            [child] if child.waited_for => own(child.start) + child.takes + (own(end) - own(child.end)),
            [] | [_] => own(end),
            _ => self.takes_with(start, end, children, own),
        }
    }

    fn takes_with(
        &mut self,
        start: i64,
        end: i64,
        children: &mut [Child],
        own: impl Fn(i64) -> Times,
    ) -> Times {
        children.sort_unstable_by_key(|c| (c.start, c.end, c.id));
        self.by_end.clear();
        self.by_end.extend(0..u32_of(children.len()));
        self.by_end.sort_unstable_by_key(|&at| (children[at as usize].end, at));
        self.ends.clear();
        let nobody = Ended { at: start, now: Times::default() };
        // Those outside the group that is open, and those of it.
        let (mut others, mut together) = (nobody, nobody);
        let mut group: Option<Group> = None;
        let mut next = 0;
        for at in 0..=children.len() {
            let child = children.get(at);
            let limit = child.map_or(i64::MAX, |child| child.start);
            while let Some(&ended) = self.by_end.get(next) {
                let other = &children[ended as usize];
                if ended as usize >= at || other.end > limit {
                    break;
                }
                next += 1;
                let now = self.ends[ended as usize];
                match group {
                    _ if !other.waited_for => {}
                    Some(Group { number, first }) if number == other.together && first <= ended as usize => {
                        together = together.and(other.end, now);
                    }
                    _ => others = others.with(other.end, now),
                }
            }
            let Some(child) = child else { break };
            if group.is_none_or(|group| group.number != child.together) {
                others = others.with(together.at, together.now);
                together = nobody;
                group = (child.together != 0).then_some(Group { number: child.together, first: at });
            }
            let starts = others.now + (own(child.start) - own(others.at));
            self.ends.push(starts + child.takes);
        }
        let ended = others.with(together.at, together.now);
        ended.now + (own(end) - own(ended.at))
    }
}
