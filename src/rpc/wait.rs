//! Waiting on one executor: a flag that can be waited for, and a limit on how long.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_lite::future::or;
use glommio::timer::Timer;

/// A flag for one waiter. It stays raised until it is seen, so it is never missed.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    /// Raises the flag and wakes the waiter, if there is one.
    pub(crate) fn raise(&self) {
        self.raised.set(true);
        let waiter = self.waiter.borrow_mut().take();
        if let Some(waker) = waiter {
            waker.wake();
        }
    }

    /// Lowers the flag without having waited for it.
    pub(crate) fn lower(&self) {
        self.raised.set(false);
    }

    /// Returns once the flag is raised, and lowers it.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.raised.take() {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What `work` gives, or `None` when it takes longer than `limit`; it is then dropped half done.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let expiry = async {
        Timer::new(limit).await;
        None
    };
    or(async { Some(work.await) }, expiry).await
}
