//! The node and the time: how everything that happens on the node's executor reaches it.

use std::cell::{Ref, RefCell};
use std::time::Instant;

use crate::node::Node;
use crate::rpc::wait::Signal;

/// The node, with the only clock it sees: milliseconds since the process started.
pub(super) struct Mind {
    node: RefCell<Node>,
    clock: Clock,
    /// Something happened that the node has not thought about yet.
    stirred: Signal,
}

/// Counts from the start of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(super) fn now_ms(self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis())
            .expect("a process runs for less than 2^64 ms")
    }
}

impl Mind {
    pub(super) fn new(node: Node, clock: Clock) -> Mind {
        Mind { node: RefCell::new(node), clock, stirred: Signal::default() }
    }

    /// Tells the node of something, which it will think about before the turn ends.
    pub(super) fn tell<T>(&self, input: impl FnOnce(&mut Node, u64) -> T) -> T {
        let result = input(&mut self.node.borrow_mut(), self.clock.now_ms());
        self.stirred.raise();
        result
    }

    /// Does something with the node that needs no thought after it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Node, u64) -> T) -> T {
        act(&mut self.node.borrow_mut(), self.clock.now_ms())
    }

    /// Looks at the node.
    pub(super) fn node(&self) -> Ref<'_, Node> {
        self.node.borrow()
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Returns once there is something to think about.
    pub(super) async fn stirred(&self) {
        self.stirred.wait().await;
    }
}
