//! The request whose time a span is in.

use crate::attribute::NESTING;
use crate::columns::NONE;
use crate::join::Joined;
use crate::numbers::u32_of;

/// For every request: which of some given requests has it in its tree. These are not inside each other.
pub struct Holding {
    of: Vec<u32>,
}

impl Holding {
    /// Over everything that was joined.
    pub fn new(joined: &Joined, requests: &[usize]) -> Self {
        let r = &joined.requests;
        let mut of = vec![NONE; r.len()];
        for &request in requests {
            of[request] = u32_of(request);
        }
        let mut around = Vec::new();
        for request in 0..r.len() {
            let mut at = u32_of(request);
            around.clear();
            while at != NONE && of[at as usize] == NONE {
                around.push(at);
                at = r.outer[at as usize];
            }
            if at != NONE {
                let held = of[at as usize];
                for &inner in &around {
                    of[inner as usize] = held;
                }
            }
        }
        for (held, &level) in of.iter_mut().zip(&r.level) {
            if *held != NONE && level > r.level[*held as usize] + NESTING {
                *held = NONE;
            }
        }
        Self { of }
    }

    /// The request that holds a span, or [`NONE`].
    pub fn of_row(&self, joined: &Joined, row: u32) -> u32 {
        match joined.requests.of_row[row as usize] {
            NONE => NONE,
            request => self.of[request as usize],
        }
    }
}
