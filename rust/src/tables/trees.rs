//! The trees of many requests as columns of numbers that a page reads: few bytes, nothing per span but them.
//!
//! Spans stand in preorder, request after request. A number is a LEB128 varint; one that can be negative is zigzag.

use std::collections::HashMap;

use crate::attribute::{self, Node, PhaseTable, Segment, Signatures};
use crate::decode::write::push_varint;
use crate::join::Joined;
use crate::numbers::ns_between;

/// The columns.
#[derive(Debug, Default)]
pub struct Trees {
    /// Per span: how many levels to go up from the span before it to find its parent; 0 is that span itself.
    pub up: Vec<u8>,
    /// Per span: its place in `names`.
    pub name: Vec<u8>,
    /// Per span: its process.
    pub process: Vec<u8>,
    /// Per span: its kind, and 8 more if its status is an error.
    pub kind: Vec<u8>,
    /// Per span: phase of its own time.
    pub phase: Vec<u8>,
    /// Per span: start minus its parent's start (of the first: minus the request's effective start), zigzag.
    pub start: Vec<u8>,
    /// Per span: end minus start, zigzag.
    pub duration: Vec<u8>,
    /// Per span: effective start minus start, zigzag.
    pub cut_start: Vec<u8>,
    /// Per span: end minus effective end, zigzag.
    pub cut_end: Vec<u8>,
    /// Per span: own time.
    pub self_ns: Vec<u8>,
    /// Per request: spans, then stretches of its critical path.
    pub counts: Vec<u8>,
    /// Per stretch, earliest first: place of its span in the request minus that of the stretch before it, zigzag.
    pub waited: Vec<u8>,
    /// Per stretch: its length; together they are the request from its effective start to its end.
    pub length: Vec<u8>,
    /// Per stretch: its phase.
    pub spent: Vec<u8>,
    /// Name → number in the columns' dictionary.
    pub names: Vec<u32>,
}

/// Appends a number that can be negative.
pub fn zigzag(out: &mut Vec<u8>, value: i64) {
    push_varint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// The trees of these requests, in their order.
pub fn trees(joined: &Joined, signatures: &Signatures, table: &PhaseTable, requests: &[usize]) -> Trees {
    let mut trees = Trees::default();
    let mut numbers: HashMap<u32, u64> = HashMap::new();
    attribute::explain_each(joined, signatures, table, requests, |nodes, segments| {
        push_varint(&mut trees.counts, nodes.len() as u64);
        push_varint(&mut trees.counts, segments.len() as u64);
        trees.add_spans(joined, nodes, &mut numbers);
        trees.add_path(segments);
    });
    trees
}

impl Trees {
    fn add_spans(&mut self, joined: &Joined, nodes: &[Node], numbers: &mut HashMap<u32, u64>) {
        let spans = &joined.columns.spans;
        let mut above: Vec<u32> = Vec::new();
        for node in nodes {
            let at = node.row as usize;
            let mut up = 0;
            while above.last().is_some_and(|&row| row != joined.parent[at]) {
                above.pop();
                up += 1;
            }
            let from = above.last().map_or(nodes[0].start, |&row| joined.start[row as usize]);
            above.push(node.row);
            let number = *numbers.entry(spans.name[at]).or_insert_with(|| {
                self.names.push(spans.name[at]);
                self.names.len() as u64 - 1
            });
            push_varint(&mut self.up, up);
            push_varint(&mut self.name, number);
            push_varint(&mut self.process, u64::from(joined.processes.of(&joined.columns, at)));
            push_varint(&mut self.kind, kind(spans.kind[at], spans.status_code[at]));
            push_varint(&mut self.phase, u64::from(node.phase));
            zigzag(&mut self.start, joined.start[at] - from);
            zigzag(&mut self.duration, joined.end[at] - joined.start[at]);
            zigzag(&mut self.cut_start, node.start - joined.start[at]);
            zigzag(&mut self.cut_end, joined.end[at] - node.end);
            push_varint(&mut self.self_ns, node.self_ns);
        }
    }

    fn add_path(&mut self, segments: &[Segment]) {
        let mut before = 0;
        for &(node, from, to, phase) in segments {
            zigzag(&mut self.waited, i64::from(node) - before);
            push_varint(&mut self.length, ns_between(from, to));
            push_varint(&mut self.spent, u64::from(phase));
            before = i64::from(node);
        }
    }
}

/// Kind, 0 for one that is not known, and 8 more for an error.
fn kind(kind: i32, status: i32) -> u64 {
    const ERROR: i32 = 2;
    u64::try_from(kind).ok().filter(|&kind| kind < 8).unwrap_or(0) + if status == ERROR { 8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_leb128_and_zigzag() {
        let mut out = Vec::new();
        push_varint(&mut out, 300);
        zigzag(&mut out, -1);
        zigzag(&mut out, i64::MIN);
        assert_eq!(out[..3], [0xac, 0x02, 0x01]);
        assert_eq!(out[3..], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }
}
