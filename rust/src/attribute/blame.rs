//! On whose behalf: a call takes over what is below it.
//!
//! ```text
//! SERVER apiserver            apiserver.filters     context 0: nothing is taken over
//! └─ CLIENT HTTP POST         webhook.validating    a call of kind 1
//!    └─ SERVER policy         webhook.server        context next[0][1]: label[context][phase]
//!       └─ CLIENT to etcd     webhook.etcd          a call of kind 2
//!          └─ SERVER etcd     webhook.etcd          context next[next[0][1]][2]
//! ```
//!
//! What contexts mean, and what phases become in them, is the taxonomy's; here they are numbers.

/// A phase's number in the table's list of names.
pub type Phase = u16;

/// The rules' answers about calls. Empty: there are none.
#[derive(Debug, Default)]
pub struct Blame {
    /// Signature → the kind of call that its spans are, 0 for none.
    pub call: Vec<u16>,
    /// Signature → its phases stay what they are, whatever call it is below.
    pub stays: Vec<bool>,
    /// Context, kind of call → context below it.
    pub next: Vec<Vec<u16>>,
    /// Context, phase → phase.
    pub label: Vec<Vec<Phase>>,
}

impl Blame {
    /// The context below a span of this signature that is itself in `context`.
    #[inline(always)]
    pub fn below(&self, context: u16, signature: u32) -> u16 {
        match self.call.get(signature as usize) {
            None | Some(0) => context,
            Some(&kind) => self.next[usize::from(context)][usize::from(kind)],
        }
    }

    /// What a phase of a span of this signature becomes in `context`.
    #[inline(always)]
    pub fn phase(&self, context: u16, signature: u32, phase: Phase) -> Phase {
        if context == 0 || self.stays[signature as usize] {
            return phase;
        }
        self.label[usize::from(context)][usize::from(phase)]
    }

    /// Every number is one of those that there are.
    pub fn fits(&self, signatures: usize, phases: usize) -> bool {
        let contexts = self.next.len();
        let kinds = self.next.first().map_or(1, Vec::len);
        self.call.len() == signatures
            && self.stays.len() == signatures
            && self.label.len() == contexts
            && contexts > 0
            && self.call.iter().all(|&kind| usize::from(kind) < kinds)
            && self.next.iter().all(|row| row.len() == kinds)
            && self.next.iter().flatten().all(|&context| usize::from(context) < contexts)
            && self.label.iter().all(|row| row.len() == phases)
            && self.label.iter().flatten().all(|&phase| usize::from(phase) < phases)
    }
}
