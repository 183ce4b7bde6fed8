//! Processes: which process sent which span.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::columns::{Columns, ValueKind};
use crate::numbers::u32_of;

/// Which process sent which resource.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    of_resource: Vec<u32>,
    /// One description per process: service name, and instance id if there is one.
    pub names: Vec<(String, Option<String>)>,
    /// Process → what else distinguishes it: the whole resource of one without instance id.
    rest: Vec<String>,
}

impl Processes {
    /// What makes a process one: service name, instance id, and what else distinguishes it.
    pub fn identity(&self, process: u32) -> (&(String, Option<String>), &str) {
        (&self.names[process as usize], &self.rest[process as usize])
    }

    /// Tells processes apart by service name and `service.instance.id`; without one, by the whole resource.
    pub fn new(c: &Columns) -> Self {
        let mut known: BTreeMap<(String, Option<String>, String), u32> = BTreeMap::new();
        let mut processes = Self::default();
        for row in 0..c.resources.batch.len() {
            let service = c.resource_text(row, "service.name").unwrap_or_default().to_owned();
            let instance =
                c.resource_text(row, "service.instance.id").filter(|id| !id.is_empty()).map(str::to_owned);
            let rest = if instance.is_some() { String::new() } else { describe_resource(c, row) };
            let next = u32_of(known.len());
            let id = *known.entry((service.clone(), instance.clone(), rest.clone())).or_insert(next);
            if id == next {
                processes.names.push((service, instance));
                processes.rest.push(rest);
            }
            processes.of_resource.push(id);
        }
        processes
    }

    /// A number for a process that is the same wherever its spans come. The hash is seeded, since senders choose names.
    pub fn key(&self, process: u32, keys: &RandomState) -> u64 {
        key_of(&self.names[process as usize], &self.rest[process as usize], keys)
    }

    /// Service, instance id, and what else distinguishes a process.
    pub fn described(&self, process: u32) -> (String, Option<String>, String) {
        let (service, instance) = self.names[process as usize].clone();
        (service, instance, self.rest[process as usize].clone())
    }

    /// The same for each of them.
    pub fn keys(&self, keys: &RandomState) -> Vec<u64> {
        (0..u32_of(self.names.len())).map(|process| self.key(process, keys)).collect()
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

/// A number for a process with this description.
pub fn key_of(name: &(String, Option<String>), rest: &str, keys: &RandomState) -> u64 {
    keys.hash_one((name, rest))
}

/// All attributes of a resource as one text, to distinguish resources without an instance id.
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
