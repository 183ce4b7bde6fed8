//! The tables that a stream holds, as they were decoded, and which of their rows are still held.
//!
//! ```text
//! table 1   ●──●  ·  ●        ● held by its trace
//! table 2   ·  ●  ·  ·        · released, or a repeat
//!              └─ mostly released: what is left is gathered into a table of its own
//! ```

use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::columns::Columns;
use crate::columns::gather::{Gather, Room};
use crate::columns::processes::Processes;
use crate::numbers::u32_of;
use crate::stream::marks::Marks;

/// Facts about a held span, so that its columns need not be read.
pub mod fact {
    /// A request's SERVER span.
    pub const REQUEST: u8 = 1;
    /// Such a one with a method and without status.
    pub const UNANSWERED: u8 = 2;
    /// An `audit` filter.
    pub const AUDIT: u8 = 4;
    /// An `authentication` filter.
    pub const AUTHENTICATION: u8 = 8;
    /// A call to etcd.
    pub const ETCD_CALL: u8 = 16;
    /// The called side of an RPC.
    pub const RPC_SERVER: u8 = 32;
    /// A kubelet's work on a pod.
    pub const SYNC: u8 = 64;
    /// A call to a container runtime.
    pub const CRI_CALL: u8 = 128;
}

/// Dead rows below which nothing is gathered.
const SMALL: usize = 4096;

/// Tables that may be open in any case, and held spans for each further one.
const MANY: usize = 64;
const FEW_ROWS: usize = 128;

struct Segment {
    columns: Arc<Columns>,
    live: usize,
    /// Resource → key of its process.
    process: Vec<u64>,
    /// Bytes held for a row, about.
    row_bytes: u64,
}

/// A held span.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Its id, as a number.
    pub span_id: u64,
    /// Its parent's id; 0 for none.
    pub parent: u64,
    segment: u32,
    row: u32,
    facts: u8,
}

impl Held {
    /// The table that it is in.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Its row in that table.
    #[inline]
    pub fn row(&self) -> u32 {
        self.row
    }

    /// This is known of it from now on, see [`fact`].
    pub fn note(&mut self, facts: u8) {
        self.facts = facts;
    }

    /// Whether this is known of it, see [`fact`].
    #[inline]
    pub fn is(&self, fact: u8) -> bool {
        self.facts & fact != 0
    }
}

/// All open tables.
#[derive(Default)]
pub struct Store {
    segments: Vec<Option<Segment>>,
    pub hasher: RandomState,
    rows: usize,
    live: usize,
    open: usize,
    closed: Vec<u32>,
}

impl Store {
    /// How many spans are held.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Takes a table in; none of its rows is held yet. Returns its number.
    pub fn open(&mut self, columns: Arc<Columns>) -> u32 {
        let processes = Processes::new(&columns);
        let keys = processes.keys(&self.hasher);
        let resources = 0..columns.resources.batch.len();
        let process = resources.map(|row| keys[processes.of_resource(row) as usize]).collect();
        let (held, wire) = columns.nbytes();
        let row_bytes = ((held + wire) / columns.len().max(1)) as u64;
        self.rows += columns.len();
        let segment = Some(Segment { columns, live: 0, process, row_bytes });
        self.open += 1;
        if let Some(closed) = self.closed.pop() {
            self.segments[closed as usize] = segment;
            closed
        } else {
            self.segments.push(segment);
            u32_of(self.segments.len()) - 1
        }
    }

    fn segment(&self, number: u32) -> &Segment {
        self.segments[number as usize].as_ref().expect("a held row is in an open table")
    }

    /// Bytes held for a row of a table, about.
    pub fn row_bytes(&self, segment: u32) -> u64 {
        self.segment(segment).row_bytes
    }

    /// Where a held span is.
    #[inline]
    pub fn place(&self, held: &Held) -> (&Columns, usize) {
        (&self.segment(held.segment).columns, held.row as usize)
    }

    /// The key of a span's process.
    pub fn process(&self, held: &Held) -> u64 {
        let segment = self.segment(held.segment);
        segment.process[segment.columns.resource_of(held.row as usize)]
    }

    /// A row of an open table. It counts as held once [`Self::hold`] counts it.
    #[inline]
    pub fn row(c: &Columns, segment: u32, row: usize, facts: u8) -> Held {
        let id = |ids: &[[u8; 8]]| u64::from_le_bytes(ids[row]);
        let (span_id, parent) = (id(&c.spans.span_id), id(&c.spans.parent_span_id));
        Held { span_id, parent, segment, row: u32_of(row), facts }
    }

    /// This many more rows of a table are held from now on.
    pub fn hold(&mut self, segment: u32, many: usize) {
        self.live += many;
        if let Some(segment) = self.segments[segment as usize].as_mut() {
            segment.live += many;
        }
    }

    /// Releases these spans.
    pub fn release(&mut self, spans: &[Held]) {
        self.live -= spans.len();
        for held in spans {
            if let Some(segment) = self.segments[held.segment as usize].as_mut() {
                segment.live -= 1;
            }
        }
    }

    /// Gathers spans into a new table, in the order of tables and rows, since reading tables in order is many times
    /// faster; the marks tell which row each becomes. Texts of a table are copied if fewer than one in `one_in` of its
    /// rows is asked for (0: always); else both tables share them.
    pub fn gather<'a>(&self, spans: impl Iterator<Item = &'a Held>, one_in: usize) -> (Columns, Marks) {
        let rows = self.segments.iter().map(|place| place.as_ref().map_or(0, |open| open.columns.len()));
        let marks = Marks::new(rows, spans.map(|held| (held.segment, held.row)));
        let parts = self.segments.iter().enumerate().filter_map(|(number, place)| {
            let (runs, open) = (marks.runs(number), place.as_ref()?);
            let rows = runs.iter().map(Range::len).sum();
            (rows > 0).then_some((&*open.columns, runs, rows))
        });
        let parts: Vec<(&Columns, Vec<Range<usize>>, usize)> = parts.collect();
        let mut room = Room::default();
        for &(c, _, rows) in &parts {
            room.add(c, rows);
        }
        let mut gather = Gather::with_room(&room);
        for (c, runs, rows) in parts {
            gather.add(c, &runs, rows * one_in >= c.len());
        }
        (gather.finish(), marks)
    }

    /// Closes tables of which nothing is held. If more rows are dead than alive, what is left of those that are mostly
    /// dead is gathered: each copied row is paid for by one that is dropped. So are small tables if they are many.
    pub fn tidy<'a>(&mut self, all: impl Iterator<Item = &'a mut Held>) {
        self.close(|_, segment| segment.live == 0);
        let (dead, many) = (self.rows > 2 * self.len() + SMALL, self.open > MANY + self.len() / FEW_ROWS);
        let moves = |segment: &Segment| {
            let rows = segment.columns.len();
            dead && 2 * segment.live <= rows || many && rows < FEW_ROWS
        };
        if dead || many {
            let moves: Vec<bool> =
                self.segments.iter().map(|segment| segment.as_ref().is_some_and(moves)).collect();
            let mut moved: Vec<&mut Held> = all.filter(|held| moves[held.segment as usize]).collect();
            if !moved.is_empty() {
                self.merge(&moves, &mut moved);
            }
        }
    }

    /// Gathers what is held of these tables into one, and closes them.
    fn merge(&mut self, which: &[bool], moved: &mut [&mut Held]) {
        let (columns, marks) = self.gather(moved.iter().map(|held| &**held), 0);
        self.close(|number, _| which[number]);
        let number = self.open(Arc::new(columns));
        for held in &mut *moved {
            (held.segment, held.row) = (number, marks.place(held.segment, held.row));
        }
        if let Some(segment) = self.segments[number as usize].as_mut() {
            segment.live = moved.len();
        }
    }

    fn close(&mut self, which: impl Fn(usize, &Segment) -> bool) {
        for (number, place) in self.segments.iter_mut().enumerate() {
            if let Some(segment) = place.as_ref().filter(|segment| which(number, segment)) {
                self.rows -= segment.columns.len();
                self.open -= 1;
                *place = None;
                self.closed.push(u32_of(number));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    use super::*;
    use crate::decode::otlp::decode;

    #[test]
    fn what_is_left_of_a_table_that_is_mostly_let_go_is_gathered() {
        let span = |id: u64| Span { span_id: id.to_le_bytes().to_vec(), ..Span::default() };
        let scope = ScopeSpans { spans: (0..3 * SMALL as u64).map(span).collect(), ..ScopeSpans::default() };
        let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
        let wire = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
        let columns = Arc::new(decode(&[wire]).expect("a sound request"));
        let mut store = Store::default();
        let number = store.open(Arc::clone(&columns));
        let mut held: Vec<Held> =
            (0..columns.len()).step_by(100).rev().map(|row| Store::row(&columns, number, row, 0)).collect();
        store.hold(number, held.len());
        store.tidy(held.iter_mut());
        assert_eq!((held.len(), held.len(), 1), (store.len(), store.rows, store.open));
        for held in &held {
            let (c, row) = store.place(held);
            assert_eq!(held.span_id.to_le_bytes(), c.spans.span_id[row]);
        }
        store.release(&held);
        store.tidy(std::iter::empty());
        assert_eq!((0, 0, 0), (store.len(), store.rows, store.open));
    }
}
