//! What will happen, in the order in which it will.
//!
//! Events at the same instant come in the order in which they were planned, so a run depends on
//! nothing but its seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Planned events, the earliest first.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Reverse<Planned<E>>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at_us: u64,
    /// Counts up, so that no two are equal.
    order: u64,
    event: E,
}

impl<E> Default for Queue<E> {
    fn default() -> Queue<E> {
        Queue { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    /// Plans `event` for the time `at_us`.
    pub(super) fn push(&mut self, at_us: u64, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Planned { at_us, order: self.planned, event }));
    }

    /// The next event that is due at `until_us` at the latest, and its time.
    pub(super) fn pop(&mut self, until_us: u64) -> Option<(u64, E)> {
        if self.heap.peek()?.0.at_us > until_us {
            return None;
        }
        self.heap.pop().map(|Reverse(planned)| (planned.at_us, planned.event))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Planned<E>) -> bool {
        (self.at_us, self.order) == (other.at_us, other.order)
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Planned<E>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Planned<E>) -> std::cmp::Ordering {
        (self.at_us, self.order).cmp(&(other.at_us, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_come_as_planned() {
        let mut queue = Queue::default();
        queue.push(20, "c");
        queue.push(10, "a");
        queue.push(10, "b");
        assert_eq!(queue.pop(15), Some((10, "a")));
        assert_eq!(queue.pop(15), Some((10, "b")));
        assert_eq!(queue.pop(15), None);
        assert_eq!(queue.pop(20), Some((20, "c")));
    }
}
