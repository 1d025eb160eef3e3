//! Name lookups, which block for seconds when the name servers are away. Used by links and for seeds.
//!
//! They run on threads of their own and not on glommio's blocking threads: one of those panics when
//! its executor ends before the lookup does.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

/// The most lookups at a time: one for each peer, and some for the seeds.
const MAX_LOOKUPS: usize = 64;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A lookup that runs; its place is free again when this is dropped.
struct Place(&'static AtomicUsize);

impl Place {
    fn take(running: &'static AtomicUsize) -> Option<Place> {
        let place = Place(running);
        (running.fetch_add(1, Ordering::Relaxed) < MAX_LOOKUPS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What `lookup` returns, or `None` when too many run already or there is no thread for it.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    lookup: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let place = Place::take(&RUNNING)?;
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let found = lookup();
        drop(place);
        // Whoever asked may have ended meanwhile.
        let _ = sender.send(found);
    };
    std::thread::Builder::new().name("mokv-lookup".to_owned()).spawn(run).ok()?;
    receiver.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lookup_is_answered_from_its_thread() {
        assert_eq!(on_a_thread(|| 7).await, Some(7));
    }

    #[test]
    fn one_lookup_too_many_is_refused_until_another_ends() {
        static OF_THIS_TEST: AtomicUsize = AtomicUsize::new(0);
        let take = || Place::take(&OF_THIS_TEST);
        let mut places: Vec<_> = (0..MAX_LOOKUPS).map(|_| take().expect("there is room")).collect();
        assert!(take().is_none());
        assert!(take().is_none(), "who was refused takes no place");
        places.pop();
        assert!(take().is_some());
    }
}
