//! A frozen view of the whole map, as the one who reads it holds it.
//!
//! ```text
//!  expect ──> every shard has answered `Frozen` ──> page, page, ... of shard 0, 1, ... ──> dropped
//! ```
//!
//! A page is asked for only when the last one was taken. The view is forgotten by all shards when its
//! reader is dropped, however it ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::envelope::{Answer, Envelope, ShardWork};
use super::mesh::Post;
use crate::node::{Failure, Ticket};
use crate::rpc::wait::Signal;
use crate::storage::SnapshotItem;

/// The views that are read on one executor.
pub(super) struct Views {
    post: Rc<Post>,
    open: RefCell<BTreeMap<Ticket, Rc<View>>>,
}

/// Where the answers about one view arrive.
#[derive(Default)]
struct View {
    /// Shards that keep the view.
    frozen: Cell<usize>,
    page: RefCell<Option<Vec<SnapshotItem>>>,
    failure: Cell<Option<Failure>>,
    signal: Signal,
}

/// Reads a view. One task has it.
pub(super) struct ViewReader {
    views: Rc<Views>,
    ticket: Ticket,
    view: Rc<View>,
    /// The shard whose pages are being read.
    executor: Cell<usize>,
}

impl Views {
    pub(super) fn new(post: Rc<Post>) -> Views {
        Views { post, open: RefCell::default() }
    }

    /// Expects a frozen view of the whole map, which the caller has the shards freeze under the
    /// reader's ticket.
    pub(super) fn expect(self: &Rc<Self>) -> ViewReader {
        let (ticket, view) = (self.post.new_ticket(), Rc::new(View::default()));
        self.open.borrow_mut().insert(ticket, Rc::clone(&view));
        ViewReader { views: Rc::clone(self), ticket, view, executor: Cell::new(0) }
    }

    /// An answer came that is no client's: it is about a view, unless its reader is gone.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        let view = self.open.borrow().get(&ticket).cloned();
        if let Some(view) = view {
            view.answered(answer);
        }
    }
}

impl View {
    fn answered(&self, answer: Answer) {
        match answer {
            Answer::Frozen => self.frozen.set(self.frozen.get() + 1),
            Answer::Page(items) => *self.page.borrow_mut() = Some(items),
            Answer::Failed(failure) => self.failure.set(Some(failure)),
            Answer::Written(_)
            | Answer::Value(_)
            | Answer::Servers(_)
            | Answer::Status(..)
            | Answer::Done
            | Answer::NotLeader(_)
            | Answer::Refused(_) => unreachable!("a view is answered by pages or a failure"),
        }
        self.signal.raise();
    }
}

impl ViewReader {
    /// The name under which the shards must freeze the view.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Returns once every shard keeps the view, or with the reason why none will.
    pub(super) async fn frozen(&self) -> Result<(), Failure> {
        while self.view.frozen.get() < self.views.post.executors() {
            if let Some(failure) = self.view.failure.get() {
                return Err(failure);
            }
            self.view.signal.wait().await;
        }
        Ok(())
    }

    /// The next page; `None` after the last. Within a shard, items come slot by slot.
    pub(super) async fn next_page(&self) -> Option<Vec<SnapshotItem>> {
        while self.executor.get() < self.views.post.executors() {
            let work = ShardWork::NextPage(self.ticket);
            self.views.post.send(self.executor.get(), Envelope::Shard(work));
            let page = self.page().await;
            if !page.is_empty() {
                return Some(page);
            }
            self.executor.set(self.executor.get() + 1);
        }
        None
    }

    async fn page(&self) -> Vec<SnapshotItem> {
        loop {
            let page = self.view.page.borrow_mut().take();
            if let Some(page) = page {
                return page;
            }
            self.view.signal.wait().await;
        }
    }
}

impl Drop for ViewReader {
    fn drop(&mut self) {
        self.views.open.borrow_mut().remove(&self.ticket);
        for executor in 0..self.views.post.executors() {
            self.views.post.send(executor, Envelope::Shard(ShardWork::Thaw(self.ticket)));
        }
    }
}
