//! Remembers every end of a call, so that each test's server can be asked whether it lost one.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::super::{CallEnd, Method, Observer};

#[derive(Default)]
pub(super) struct Census {
    began: Cell<usize>,
    refused: Cell<usize>,
    connections: Cell<usize>,
    ends: RefCell<Vec<(Method, CallEnd)>>,
}

/// What a server's observer was told, once the server has stopped.
pub(super) struct Told {
    pub(super) refused: usize,
    pub(super) ends: Vec<(Method, CallEnd)>,
}

impl Observer for Census {
    fn connections_changed(&self, open: usize) {
        self.connections.set(open);
    }

    fn call_began(&self) {
        self.began.set(self.began.get() + 1);
    }

    fn call_ended(&self, method: Method, end: CallEnd, _took: Duration) {
        self.ends.borrow_mut().push((method, end));
    }

    fn call_refused(&self) {
        self.refused.set(self.refused.get() + 1);
    }
}

impl Census {
    /// Checks, after the server has stopped, that whatever began has ended.
    pub(super) fn close(&self) -> Told {
        let ends = self.ends.take();
        assert_eq!(ends.len(), self.began.get(), "each call that began ends once");
        assert_eq!(self.connections.get(), 0, "a stopped server has no connections");
        Told { refused: self.refused.get(), ends }
    }
}
