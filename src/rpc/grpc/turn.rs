//! Keeps a task from waking itself for work that its present turn will do anyway.
//!
//! `h2` wakes the connection's task whenever something is queued for it, and here the task itself
//! does all the queueing. The waker it hands out therefore remembers a wake that comes during a
//! turn instead of scheduling one more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Wake, Waker};

/// The waker of one connection's task.
pub(super) struct Turn {
    task: Waker,
    running: AtomicBool,
    woken: AtomicBool,
}

impl Turn {
    pub(super) fn new(task: Waker) -> Turn {
        Turn { task, running: AtomicBool::new(false), woken: AtomicBool::new(false) }
    }

    /// From here on a wake is remembered.
    pub(super) fn begin(&self) {
        self.woken.store(false, SeqCst);
        self.running.store(true, SeqCst);
    }

    /// Whether a wake has come since the last call; the turn answers for it from here on.
    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, SeqCst)
    }

    /// From here on a wake schedules the task, and one that came unanswered does so now.
    pub(super) fn end(&self) {
        self.running.store(false, SeqCst);
        if self.take_woken() {
            self.task.wake_by_ref();
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order, against the opposite one of `end`: one of the two sees the other.
        self.woken.store(true, SeqCst);
        if !self.running.load(SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_wake_schedules_outside_a_turn_and_is_remembered_within() {
        let count = Arc::new(Count::default());
        let turn = Arc::new(Turn::new(Waker::from(Arc::clone(&count))));
        let waker = Waker::from(Arc::clone(&turn));
        waker.wake_by_ref();
        assert_eq!(count.0.load(SeqCst), 1);

        turn.begin();
        waker.wake_by_ref();
        assert!(turn.take_woken() && !turn.take_woken());
        turn.end();
        assert_eq!(count.0.load(SeqCst), 1, "the turn answered for the wake");

        turn.begin();
        waker.wake_by_ref();
        turn.end();
        assert_eq!(count.0.load(SeqCst), 2, "nobody answered for it");
    }
}
