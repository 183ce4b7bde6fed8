//! What the rules that mend known shapes look at.

use crate::columns::processes::Processes;
use crate::columns::{Columns, present};
use crate::join::clock;
use crate::join::known_names::KnownNames;
use crate::join::role::Role;
use crate::join::times::bad_time;

/// Start and end of every span, in ns since the epoch, before any correction of clocks.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// Row → start.
    pub start: &'a [i64],
    /// Row → end.
    pub end: &'a [i64],
}

impl Times<'_> {
    /// The end, never before the start.
    pub fn ended(self, row: u32) -> i64 {
        self.end[row as usize].max(self.start[row as usize])
    }

    /// Nothing is wrong with them.
    pub fn usable(self, row: u32) -> bool {
        bad_time(self.start[row as usize] as u64, self.end[row as usize] as u64).is_none()
    }
}

/// What the rules look at.
#[derive(Clone, Copy)]
pub struct RepairContext<'a> {
    /// What was sent.
    pub c: &'a Columns,
    /// Names and scopes.
    pub names: &'a KnownNames,
    /// Who sent it.
    pub processes: &'a Processes,
    /// How many spans each trace has.
    pub traces: &'a Traces,
    /// What was set aside already.
    pub role: &'a [Role],
    /// When it was.
    pub times: Times<'a>,
    /// What other calls say of the clocks.
    pub clocks: clock::Known<'a>,
}

impl<'a> RepairContext<'a> {
    /// Rows that were not set aside and fit.
    pub fn rows(self, fits: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        (0..self.c.len() as u32).filter(move |&row| self.role[row as usize] == Role::Unrelated && fits(row))
    }

    /// The process that sent the row.
    #[inline(always)]
    pub fn process(self, row: u32) -> u32 {
        self.processes.of(self.c, row as usize)
    }

    /// The row is a request's SERVER span.
    #[inline(always)]
    pub fn is_request(self, row: u32) -> bool {
        self.names.is_request(self.c, row as usize)
    }

    /// The row was sent without a parent.
    #[inline(always)]
    pub fn is_parentless(self, row: u32) -> bool {
        self.c.spans.parent_span_id[row as usize] == [0; 8]
    }

    /// The row is the `authentication` filter span.
    #[inline(always)]
    pub fn is_authentication(self, row: u32) -> bool {
        self.names.is_authentication(self.c, row as usize)
    }
}

/// How many spans each trace has, and how many traces there are.
pub struct Traces {
    kept: hashbrown::HashMap<[u8; 16], u32, foldhash::fast::RandomState>,
}

impl Traces {
    /// Counts them. What was set aside makes a trace, but is no span of it.
    pub fn new(c: &Columns, role: &[Role]) -> Self {
        let mut kept = hashbrown::HashMap::default();
        let (ids, mut at) = (&c.spans.trace_id, 0);
        while at < c.len() {
            let same = ids[at..].iter().take_while(|id| **id == ids[at]).count();
            let spans = role[at..at + same].iter().filter(|&&role| role == Role::Unrelated).count();
            if c.spans.present[at] & present::TRACE_ID != 0 && ids[at] != [0; 16] {
                *kept.entry(ids[at]).or_insert(0) += spans as u32;
            }
            at += same;
        }
        Self { kept }
    }

    /// How many traces there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// The span is the only one of its trace.
    pub fn is_alone(&self, c: &Columns, row: u32) -> bool {
        self.kept.get(&c.spans.trace_id[row as usize]) == Some(&1)
    }
}
