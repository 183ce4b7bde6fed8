//! One role per span, so that the ledger adds up.

use std::cell::LazyCell;

use crate::columns::Columns;
use crate::join::builder::Builder;
use crate::join::known_names::KnownNames;
use crate::join::role::Role;
use crate::join::span_kind::{CLIENT, INTERNAL};
use crate::threads;

/// Trees for each thread at least.
const PART_TREES: usize = 256;

/// Gives every span that is still undecided its role, tree by tree.
pub fn assign(b: &mut Builder<'_>) {
    mark(b);
    let trees: Vec<u32> = b.forest.trees().collect();
    let found = threads::split(trees.len(), b.threads, PART_TREES, |part| roles(b, &trees[part]));
    let mut first = 0;
    for (role, spans) in found.into_iter().flatten() {
        for &row in &b.forest.order[first..first + spans] {
            b.role[row as usize] = role;
        }
        first += spans;
    }
    for &(above, _) in &b.preludes {
        b.role[above as usize] = Role::Prelude;
    }
}

/// Roles in some trees, in preorder, each with how many spans in a row have it.
fn roles(b: &Builder<'_>, trees: &[u32]) -> Vec<(Role, usize)> {
    let Builder { c, names, forest, missing, role, .. } = b;
    let mut roles: Vec<(Role, usize)> = Vec::new();
    let is_request = |row: u32| names.is_request(c, row as usize);
    for &at in trees {
        let at = at as usize;
        let top = forest.order[at];
        let (rows, size) = (forest.subtree(top), &forest.size[at..]);
        let of_top = LazyCell::new(|| match role_of_top(names, c, top as usize, missing[top as usize]) {
            Role::Authentication
                if rows.iter().any(|&row| is_request(row) || role[row as usize] == Role::Prelude) =>
            {
                Role::Unrelated
            }
            role => role,
        });
        let mut place = 0;
        while let Some(&row) = rows.get(place) {
            let (role, spans) = match is_request(row) {
                true => (Role::Request, size[place] as usize),
                false if role[row as usize] == Role::Caller && *of_top != Role::Sync => (Role::Caller, 1),
                false => (*of_top, 1),
            };
            match roles.last_mut() {
                Some((last, many)) if *last == role => *many += spans,
                _ => roles.push((role, spans)),
            }
            place += spans;
        }
    }
    roles
}

/// Marks what other trees ask for: preludes, and CLIENT rows that a request here has as its parent or names in a link.
fn mark(b: &mut Builder<'_>) {
    let Builder { c, named, role, .. } = b;
    let called = named.by_any().filter(|&row| c.spans.kind[row as usize] == CLIENT);
    called.for_each(|row| role[row as usize] = Role::Caller);
    b.preludes.iter().for_each(|&(above, _)| b.role[above as usize] = Role::Prelude);
}

fn role_of_top(names: &KnownNames, c: &Columns, top: usize, missing: bool) -> Role {
    let inner = c.spans.kind[top] == INTERNAL && names.in_apiserver(c, top);
    match missing {
        // Its sync is over, and was released, or lies before the recording: probes go on for as long as the pod lives.
        true if names.is_probe(c, top) => Role::Sync,
        true if inner => Role::RootMissing,
        true => Role::Orphan,
        false if names.is_etcd_call(c, top) => Role::Background,
        false if names.is_authentication(c, top) => Role::Authentication,
        false if names.is_sync(c, top) => Role::Sync,
        false if names.is_kubelet_request(c, top) => Role::Caller,
        false if names.in_kubelet(c, top) => Role::Kubelet,
        false if names.in_runtime(c, top) => Role::Runtime,
        false => Role::Unrelated,
    }
}
