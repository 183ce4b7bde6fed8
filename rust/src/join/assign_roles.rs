//! One role per span, so that the ledger adds up.

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
    let called = called_by_requests(b);
    let trees: Vec<u32> = b.forest.trees().collect();
    let found = threads::split(trees.len(), b.threads, PART_TREES, |part| roles(b, &called, &trees[part]));
    for (&row, role) in b.forest.order.iter().zip(found.into_iter().flatten()) {
        b.role[row as usize] = role;
    }
    for &(above, _) in &b.preludes {
        b.role[above as usize] = Role::Prelude;
    }
}

/// Roles in some trees, in preorder. `called` is sorted.
fn roles(b: &Builder<'_>, called: &[u32], trees: &[u32]) -> Vec<Role> {
    let Builder { c, names, forest, missing, preludes, .. } = b;
    let mut roles = Vec::new();
    for &at in trees {
        let at = at as usize;
        let top = forest.order[at];
        let rows = &forest.order[at..at + forest.size[at] as usize];
        let has_request = rows.iter().any(|&row| names.is_request(c, row as usize));
        let is_prelude = |row: &u32| preludes.binary_search_by_key(row, |&(above, _)| above).is_ok();
        let of_top = match role_of_top(names, c, top as usize, missing[top as usize]) {
            Role::Authentication if has_request || rows.iter().any(is_prelude) => Role::Unrelated,
            role => role,
        };
        let mut request_end = at;
        for (place, &row) in (at..).zip(rows) {
            if names.is_request(c, row as usize) {
                request_end = request_end.max(place + forest.size[place] as usize);
            }
            roles.push(match of_top {
                _ if place < request_end => Role::Request,
                Role::Sync => Role::Sync,
                _ if called.binary_search(&row).is_ok() => Role::Caller,
                _ => of_top,
            });
        }
    }
    roles
}

/// CLIENT rows that a request here has as its parent or names in a span link, sorted.
fn called_by_requests(b: &Builder<'_>) -> Vec<u32> {
    let mut rows: Vec<u32> = b
        .rows()
        .filter(|&row| b.is_request(row))
        .flat_map(|row| b.called_by(row))
        .filter(|&row| b.c.spans.kind[row as usize] == CLIENT)
        .collect();
    rows.sort_unstable();
    rows
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
