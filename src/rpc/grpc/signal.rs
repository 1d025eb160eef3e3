//! "Something changed", told to tasks of the same executor.
//!
//! A [`Signal`] counts its notifications; a [`Subscription`] remembers the count it has seen. Many
//! notifications between two looks are one: whoever is told reads the state that changed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Tells all its subscriptions that something changed.
#[derive(Clone, Debug, Default)]
pub struct Signal {
    state: Rc<State>,
}

/// Learns of the changes since it was made or last looked.
#[derive(Debug)]
pub struct Subscription {
    state: Rc<State>,
    id: u64,
    seen: u64,
}

#[derive(Debug, Default)]
struct State {
    notifications: Cell<u64>,
    subscriptions: Cell<u64>,
    /// Whom to wake, at most one for each subscription, by its id.
    waiting: RefCell<BTreeMap<u64, Waker>>,
}

impl Signal {
    /// Tells every subscription.
    pub fn notify(&self) {
        self.state.notifications.set(self.state.notifications.get() + 1);
        for waker in self.state.waiting.take().into_values() {
            waker.wake();
        }
    }

    /// A subscription that learns of changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        let id = self.state.subscriptions.get();
        self.state.subscriptions.set(id + 1);
        Subscription { state: Rc::clone(&self.state), id, seen: self.state.notifications.get() }
    }
}

impl Subscription {
    /// Ready once after each change, or run of changes.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let notifications = self.state.notifications.get();
        if self.seen != notifications {
            self.seen = notifications;
            return Poll::Ready(());
        }
        self.state.waiting.borrow_mut().insert(self.id, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.state.waiting.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_sees_each_run_of_changes_once() {
        let signal = Signal::default();
        let mut subscription = signal.subscribe();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(subscription.poll_changed(cx).is_pending());
        signal.notify();
        signal.notify();
        assert!(subscription.poll_changed(cx).is_ready());
        assert!(subscription.poll_changed(cx).is_pending());
    }

    #[test]
    fn a_subscription_waits_once_and_not_after_its_end() {
        let signal = Signal::default();
        let mut subscription = signal.subscribe();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(subscription.poll_changed(cx).is_pending());
        assert!(subscription.poll_changed(cx).is_pending());
        assert_eq!(signal.state.waiting.borrow().len(), 1);
        drop(subscription);
        assert!(signal.state.waiting.borrow().is_empty());
    }
}
