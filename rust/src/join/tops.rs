//! Tops of trees, while parents change.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::columns::NONE;

/// Walks each edge once however often it is asked. A top that has got a parent since is passed.
#[derive(Default)]
pub struct Tops(HashMap<u32, u32, RandomState>);

impl Tops {
    /// The top of the tree that a row is in.
    pub fn of(&mut self, parent: &[u32], row: u32) -> u32 {
        let (mut at, mut path) = (row, Vec::new());
        while parent[at as usize] != NONE {
            path.push(at);
            at = self.0.get(&at).copied().unwrap_or(parent[at as usize]);
        }
        self.0.extend(path.into_iter().map(|row| (row, at)));
        at
    }
}
