//! How often each request called whom.

use crate::attribute::{PhaseTable, Signatures};
use crate::columns::NONE;
use crate::join::Joined;

/// Calls into each group of phases, per request: `requests.len() × groups` counts, request by request.
///
/// A call is a used span whose parent's phase is in another group, as in [`super::calls`].
pub fn call_counts(
    joined: &Joined,
    signatures: &Signatures,
    table: &PhaseTable,
    (group, groups): (&[u32], usize),
    requests: &[usize],
) -> Vec<i64> {
    let forest = &joined.forest;
    let mut counts = vec![0; requests.len() * groups];
    // Place below the root → its group, and the context of what is below it.
    let mut seen: Vec<Option<(u32, u16)>> = Vec::new();
    for (&request, counts) in requests.iter().zip(counts.chunks_mut(groups.max(1))) {
        let base = forest.position[joined.requests.root[request] as usize] as usize;
        seen.clear();
        for place in base..base + forest.size[base] as usize {
            let row = forest.order[place] as usize;
            let signature = signatures.of_row[row];
            let above = (place > base).then(|| forest.position[joined.parent[row] as usize] as usize - base);
            let above = above.and_then(|above| seen[above]);
            if signature == NONE {
                seen.push(None);
                continue;
            }
            let context = above.map_or(0, |(_, context)| context);
            let phase = table.blame.phase(context, signature, table.phase[signature as usize]);
            let own = group[usize::from(phase)];
            seen.push(Some((own, table.blame.below(context, signature))));
            if above.is_some_and(|(outer, _)| outer != own) {
                counts[own as usize] += 1;
            }
        }
    }
    counts
}
