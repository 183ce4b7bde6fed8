//! The spans that a stream holds: whole tables as they were decoded, and a node for each of their rows that is held.
//!
//! ```text
//! table 1   ●──●  ·  ●        ● held, in the chain of its trace
//! table 2   ·  ●  ·  ·        · let go, or a repeat
//!              └─ mostly let go: what is left is gathered into a table of its own
//! ```

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::columns::Columns;
use crate::forest::NONE;
use crate::gather::{Gather, Room};
use crate::processes::Processes;
use crate::twins;

/// What a node says of its span, so that its columns need not be asked.
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
}

/// Repeats of one span among so many of equal ids and times are found; there are more only when somebody makes them.
const VARIANTS: usize = 8;

/// So many rows may be dead before it is worth a thought.
const SMALL: usize = 4096;

/// So many tables may be open whatever they hold, and one more for each so many held spans.
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
#[derive(Clone, Copy)]
struct Node {
    hash: u64,
    span_id: u64,
    parent: u64,
    segment: u32,
    row: u32,
    next: u32,
    facts: u8,
}

/// All held spans.
#[derive(Default)]
pub struct Store {
    segments: Vec<Option<Segment>>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Nodes of spans that have ids.
    distinct: HashTable<u32>,
    pub hasher: RandomState,
    rows: usize,
    open: usize,
    closed: Vec<u32>,
}

impl Store {
    /// How many spans are held.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Takes a table in; none of its rows is held yet. Returns its number.
    pub fn open(&mut self, columns: Arc<Columns>) -> u32 {
        let processes = Processes::new(&columns);
        let resources = 0..columns.resources.batch.len();
        let process = resources.map(|row| processes.key(processes.of_resource(row), &self.hasher)).collect();
        let (held, wire) = columns.nbytes();
        let row_bytes = ((held + wire) / columns.len().max(1)) as u64;
        self.rows += columns.len();
        let segment = Some(Segment { columns, live: 0, process, row_bytes });
        self.open += 1;
        match self.closed.pop() {
            Some(closed) => {
                self.segments[closed as usize] = segment;
                closed
            }
            None => {
                self.segments.push(segment);
                self.segments.len() as u32 - 1
            }
        }
    }

    fn segment(&self, number: u32) -> &Segment {
        self.segments[number as usize].as_ref().expect("a held row is in an open table")
    }

    /// Bytes held for a row of a table, about.
    pub fn row_bytes(&self, segment: u32) -> u64 {
        self.segment(segment).row_bytes
    }

    /// Where a node's span is.
    #[inline]
    pub fn place(&self, node: u32) -> (&Columns, usize) {
        let node = self.nodes[node as usize];
        (&self.segment(node.segment).columns, node.row as usize)
    }

    /// See [`fact`].
    #[inline]
    pub fn facts(&self, node: u32) -> u8 {
        self.nodes[node as usize].facts
    }

    /// Span id and parent's id, as numbers; 0 for none.
    #[inline]
    pub fn ids(&self, node: u32) -> (u64, u64) {
        let node = &self.nodes[node as usize];
        (node.span_id, node.parent)
    }

    /// The key of a span's process.
    pub fn process(&self, node: u32) -> u64 {
        let (c, row) = self.place(node);
        self.segment(self.nodes[node as usize].segment).process[c.resource_of(row)]
    }

    /// The nodes of a chain.
    pub fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        let some = |node: u32| (node != NONE).then_some(node);
        std::iter::successors(some(head), move |&node| some(self.nodes[node as usize].next))
    }

    /// What a repeat has in common with a span, at least: ids and times.
    #[inline]
    fn key((c, row): (&Columns, usize)) -> (u128, u64, u64, u64) {
        let s = &c.spans;
        let ids = (u128::from_le_bytes(s.trace_id[row]), u64::from_le_bytes(s.span_id[row]));
        (ids.0, ids.1, s.start_time_unix_nano[row], s.end_time_unix_nano[row])
    }

    #[inline]
    fn hash(hasher: &RandomState, c: &Columns, row: usize) -> u64 {
        hasher.hash_one(Self::key((c, row)))
    }

    /// Holds a row of an open table before the chain at `head`, and returns the new head; nothing if the same span is held already.
    pub fn hold(&mut self, c: &Columns, segment: u32, row: u32, facts: u8, head: u32) -> Option<u32> {
        let hash = Self::hash(&self.hasher, c, row as usize);
        let here = (c, row as usize);
        let like = self.distinct.iter_hash(hash).map(|&node| self.place(node));
        let mut variants = like.filter(|&place| Self::key(place) == Self::key(here)).take(VARIANTS);
        if variants.any(|place| twins::same(place, here)) {
            return None;
        }
        let node = self.hold_any(c, segment, row, facts, head);
        let Self { distinct, nodes, .. } = self;
        nodes[node as usize].hash = hash;
        distinct.insert_unique(hash, node, |&other| nodes[other as usize].hash);
        Some(node)
    }

    /// Holds a row that is like no other.
    pub fn hold_any(&mut self, c: &Columns, segment: u32, row: u32, facts: u8, next: u32) -> u32 {
        let s = &c.spans;
        let id = |ids: &[[u8; 8]]| u64::from_le_bytes(ids[row as usize]);
        let (span_id, parent) = (id(&s.span_id), id(&s.parent_span_id));
        let node = Node { hash: 0, span_id, parent, segment, row, next, facts };
        if let Some(open) = self.segments[segment as usize].as_mut() {
            open.live += 1;
        }
        match self.free.pop() {
            Some(free) => {
                self.nodes[free as usize] = node;
                free
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    /// Lets all spans of a chain go. Returns how many.
    pub fn release(&mut self, head: u32) -> usize {
        let (mut node, mut count) = (head, 0);
        while node != NONE {
            let Node { hash, segment, next, .. } = self.nodes[node as usize];
            if let Ok(entry) = self.distinct.find_entry(hash, |&other| other == node) {
                entry.remove();
            }
            if let Some(segment) = self.segments[segment as usize].as_mut() {
                segment.live -= 1;
            }
            self.nodes[node as usize].segment = NONE;
            self.free.push(node);
            (node, count) = (next, count + 1);
        }
        count
    }

    /// Brings spans into a table of their own, and their nodes, each with a label, into the order that they have there:
    /// that of the tables, since reading those in order is many times faster. Texts of a table are copied if fewer
    /// than one in so many of its rows is asked for (0: always); else both tables hold them.
    pub fn gather(&self, nodes: &mut [(u32, u32)], one_in: usize) -> Columns {
        let at = |&(node, _): &(u32, u32)| &self.nodes[node as usize];
        nodes.sort_by_cached_key(|node| (u64::from(at(node).segment) << 32) | u64::from(at(node).row));
        let tables = || nodes.chunk_by(|a, b| at(a).segment == at(b).segment);
        let mut room = Room::default();
        for part in tables() {
            room.add(&self.segment(at(&part[0]).segment).columns, part.len());
        }
        let mut gather = Gather::with_room(&room);
        for part in tables() {
            let c = &self.segment(at(&part[0]).segment).columns;
            let runs = part.chunk_by(|a, b| at(a).row + 1 == at(b).row);
            let first = |run: &[(u32, u32)]| at(&run[0]).row as usize;
            let rows: Vec<_> = runs.map(|run| first(run)..first(run) + run.len()).collect();
            let share = part.len() * one_in >= c.len();
            gather.add(c, &rows, share);
        }
        gather.finish()
    }

    /// Closes tables of which nothing is held. If more rows are dead than alive, what is left of those that are mostly
    /// dead is gathered: each copied row is paid for by one that is dropped. So are small tables if they are many.
    pub fn tidy(&mut self) {
        self.close(|_, segment| segment.live == 0);
        let (dead, many) = (self.rows > 2 * self.len() + SMALL, self.open > MANY + self.len() / FEW_ROWS);
        let moves = |segment: &Segment| {
            let rows = segment.columns.len();
            dead && 2 * segment.live <= rows || many && rows < FEW_ROWS
        };
        if dead || many {
            let moves: Vec<bool> =
                self.segments.iter().map(|segment| segment.as_ref().is_some_and(moves)).collect();
            self.merge(&moves);
        }
    }

    /// Gathers what is held of these tables into one, and closes them.
    fn merge(&mut self, which: &[bool]) {
        let moves = |node: &u32| {
            let segment = self.nodes[*node as usize].segment;
            segment != NONE && which[segment as usize]
        };
        let nodes = (0..self.nodes.len() as u32).filter(moves);
        let mut moved: Vec<(u32, u32)> = nodes.map(|node| (node, 0)).collect();
        if moved.is_empty() {
            return;
        }
        let columns = self.gather(&mut moved, 0);
        self.close(|number, _| which[number]);
        let number = self.open(Arc::new(columns));
        for (row, &(node, _)) in moved.iter().enumerate() {
            let node = &mut self.nodes[node as usize];
            (node.segment, node.row) = (number, row as u32);
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
                self.closed.push(number as u32);
            }
        }
    }
}
