//! Numbers in a row, each with its neighbours: any can be taken out, or put last, in constant time.

/// A list of slots, first to last.
pub struct Order {
    /// Place 0 is both ends; slot `n` is at place `n + 1`. (before, after)
    links: Vec<(u32, u32)>,
}

impl Default for Order {
    fn default() -> Self {
        Self { links: vec![(0, 0)] }
    }
}

impl Order {
    /// Puts a slot that is not in the list last.
    pub fn push(&mut self, slot: u32) {
        let at = slot + 1;
        if self.links.len() <= at as usize {
            self.links.resize(at as usize + 1, (0, 0));
        }
        let last = self.links[0].0;
        self.links[at as usize] = (last, 0);
        self.links[last as usize].1 = at;
        self.links[0].0 = at;
    }

    /// Takes a slot out.
    pub fn remove(&mut self, slot: u32) {
        let (before, after) = self.links[slot as usize + 1];
        self.links[before as usize].1 = after;
        self.links[after as usize].0 = before;
    }

    /// All slots, first to last.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let step = |at: u32| Some(self.links[at as usize].1).filter(|&next| next != 0);
        std::iter::successors(step(0), move |&at| step(at)).map(|at| at - 1)
    }

    /// The first slot.
    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slot_can_leave_and_come_back_last() {
        let mut order = Order::default();
        [0, 1, 2, 3].into_iter().for_each(|slot| order.push(slot));
        order.remove(1);
        order.remove(3);
        order.push(1);
        order.remove(0);
        assert_eq!(vec![2, 1], order.iter().collect::<Vec<_>>());
        assert_eq!(Some(2), order.first());
    }
}
