//! Processes and the offsets between their clocks.
//!
//! An RPC pair bounds the offset θ = server clock − client clock, since the call came before and after its handling:
//!
//! ```text
//! client   c1 |===================| c2         s2 − c2 ≤ θ ≤ s1 − c1
//! server       s1 |===========| s2
//! ```
//!
//! A caller that gave up (status ERROR: cancelled, deadline exceeded) did not wait for the end: such a call bounds θ
//! from above only. All pairs of the same two processes are intersected. If 0 fits, the clocks agree and nothing moves. Otherwise the
//! point nearest 0 is used. An empty intersection (drift, or two processes under one name) corrects nothing.

use std::collections::BTreeMap;

use crate::columns::{Columns, ValueKind};
use crate::forest::{Forest, NONE};
use crate::join::LATEST;

/// `StatusCode` of the `.proto`.
const STATUS_ERROR: i32 = 2;

/// Which process sent which resource.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    of_resource: Vec<u32>,
    /// One description per process: service name, and instance id if there is one.
    pub names: Vec<(String, Option<String>)>,
}

impl Processes {
    /// Tells processes apart by service name and `service.instance.id`; without one, by the whole resource.
    pub fn new(c: &Columns) -> Self {
        let mut known: BTreeMap<(String, Option<String>, String), u32> = BTreeMap::new();
        let mut processes = Self::default();
        for row in 0..c.resources.batch.len() {
            let service = c.resource_text(row, "service.name").unwrap_or_default().to_owned();
            let instance =
                c.resource_text(row, "service.instance.id").filter(|id| !id.is_empty()).map(str::to_owned);
            let rest = if instance.is_some() { String::new() } else { describe_resource(c, row) };
            let next = known.len() as u32;
            let id = *known.entry((service.clone(), instance.clone(), rest)).or_insert(next);
            if id == next {
                processes.names.push((service, instance));
            }
            processes.of_resource.push(id);
        }
        processes
    }

    /// The process that sent a resource.
    pub fn of_resource(&self, resource: usize) -> u32 {
        self.of_resource[resource]
    }

    /// The process of a span.
    #[inline]
    pub fn of(&self, c: &Columns, row: usize) -> u32 {
        self.of_resource[c.resource_of(row)]
    }
}

/// All attributes of a resource as one text, to tell resources without an instance id apart.
fn describe_resource(c: &Columns, row: usize) -> String {
    let table = &c.resource_attributes;
    let mut parts: Vec<String> = table
        .of(row)
        .map(|at| match table.text_ref(at) {
            Some(text) => format!("{}={:?}", c.keys.text(table.key[at]), text.of(&c.arena)),
            None if table.kind[at] == ValueKind::Absent => c.keys.text(table.key[at]).to_owned(),
            None => format!("{}={}", c.keys.text(table.key[at]), table.value[at]),
        })
        .collect();
    parts.sort_unstable();
    parts.join("\u{1f}")
}

/// What all RPC pairs of two processes say about their clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockOffset {
    /// The calling process.
    pub client: u32,
    /// The called process.
    pub server: u32,
    /// The offset (server − client) is at least this, in ns.
    pub low_ns: i64,
    /// The offset is at most this.
    pub high_ns: i64,
    /// How many pairs were used.
    pub pairs: u64,
}

impl ClockOffset {
    /// What is taken off the server's times, in ns: the point of the bounds nearest 0; 0 when they contradict.
    pub fn offset_ns(&self) -> i64 {
        if self.low_ns > self.high_ns { 0 } else { 0i64.clamp(self.low_ns, self.high_ns) }
    }
}

/// Intersects the bounds of all pairs, per pair of processes.
pub fn measure(
    c: &Columns,
    processes: &Processes,
    rpc_pairs: &[(u32, u32)],
    start: &[i64],
    end: &[i64],
) -> Vec<ClockOffset> {
    let mut offsets: BTreeMap<(u32, u32), ClockOffset> = BTreeMap::new();
    for &(client, server) in rpc_pairs {
        let (c_row, s_row) = (client as usize, server as usize);
        let key = (processes.of(c, c_row), processes.of(c, s_row));
        let sane = start[c_row] <= end[c_row] && start[s_row] <= end[s_row];
        let gave_up = c.spans.status_code[c_row] == STATUS_ERROR;
        let longer = end[s_row] - start[s_row] > end[c_row] - start[c_row];
        if key.0 == key.1 || !sane || longer && !gave_up {
            continue;
        }
        let bounds = offsets.entry(key).or_insert(ClockOffset {
            client: key.0,
            server: key.1,
            low_ns: i64::MIN,
            high_ns: i64::MAX,
            pairs: 0,
        });
        if !gave_up {
            bounds.low_ns = bounds.low_ns.max(end[s_row].saturating_sub(end[c_row]));
        }
        bounds.high_ns = bounds.high_ns.min(start[s_row].saturating_sub(start[c_row]));
        bounds.pairs += 1;
    }
    offsets.into_values().collect()
}

/// Moves the times of called processes onto the clock of the process at the top of their tree.
/// Spans of one process under one caller move together.
pub fn correct(
    offsets: &[ClockOffset],
    c: &Columns,
    processes: &Processes,
    forest: &Forest,
    parent: &[u32],
    start: &mut [i64],
    end: &mut [i64],
) {
    let moved: BTreeMap<(u32, u32), i64> = offsets
        .iter()
        .filter(|o| o.offset_ns() != 0)
        .map(|o| ((o.client, o.server), o.offset_ns()))
        .collect();
    if moved.is_empty() {
        return;
    }
    let mut shift = vec![0i64; parent.len()];
    for &row in &forest.order {
        let (at, above) = (row as usize, parent[row as usize]);
        if above == NONE {
            continue;
        }
        let pair = (processes.of(c, above as usize), processes.of(c, at));
        let own = if pair.0 == pair.1 { 0 } else { moved.get(&pair).copied().unwrap_or(0) };
        shift[at] = shift[above as usize].saturating_sub(own);
        start[at] = start[at].saturating_add(shift[at]).clamp(0, LATEST);
        end[at] = end[at].saturating_add(shift[at]).clamp(0, LATEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_the_point_of_the_bounds_nearest_zero() {
        let bounds = |low_ns, high_ns| ClockOffset { client: 0, server: 1, low_ns, high_ns, pairs: 1 };
        assert_eq!(0, bounds(-5, 7).offset_ns(), "the clocks agree");
        assert_eq!(100, bounds(100, 140).offset_ns(), "the server is ahead");
        assert_eq!(-30, bounds(-90, -30).offset_ns(), "the server is behind");
        assert_eq!(0, bounds(5, -5).offset_ns(), "the bounds contradict");
    }
}
