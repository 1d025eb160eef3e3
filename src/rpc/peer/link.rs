//! One outgoing link: dials a peer for as long as it is wanted, and writes what is sent to it.
//!
//! ```text
//!            +----------------- pause, or a nudge -----------------+
//!            v                                                     |
//!        [dialing] --resolve, connect, hello, accepted--> [up] --broken--> [down]
//!            |                                                     ^
//!            +----------------------- failed ----------------------+
//! ```
//!
//! A new address, or none, ends whatever the link is doing. A link that is to end for good gives
//! the messages that it took a moment to leave: the last one may tell a peer that it was removed.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_lite::future::or;

use super::Local;
use super::connection::{Broken, Connection};
use super::dial::{call, resolve};
use super::hello::Purpose;
use super::outbox::{Outbox, Pushed};
use super::retry::{Backoff, FailureLog};
use crate::rpc::wait::{Signal, within};
use crate::types::NodeId;

/// How long a link that is no longer wanted may take to send what it has.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A link that lasted this long has proved itself: its end is not answered with longer pauses.
const PROVEN: Duration = Duration::from_secs(1);

/// The link to one peer. Its task is [`run`](Link::run).
pub(super) struct Link {
    local: Rc<Local>,
    peer: NodeId,
    /// `host:port`, or `None` when the link is to end.
    target: RefCell<Option<String>>,
    /// Raised when `target` changes.
    retargeted: Signal,
    /// Raised when there is reason to dial at once.
    nudged: Signal,
    outbox: Outbox,
}

impl Link {
    /// A link to `peer` at `target`, a `host:port`.
    pub(super) fn new(local: Rc<Local>, peer: NodeId, target: String) -> Rc<Link> {
        Rc::new(Link {
            local,
            peer,
            target: RefCell::new(Some(target)),
            retargeted: Signal::default(),
            nudged: Signal::default(),
            outbox: Outbox::default(),
        })
    }

    /// Makes `target` the peer's address; `None` ends the link for good.
    pub(super) fn retarget(&self, target: Option<String>) {
        if *self.target.borrow() != target {
            *self.target.borrow_mut() = target;
            self.retargeted.raise();
        }
    }

    /// Cuts a pause between attempts short.
    pub(super) fn nudge(&self) {
        self.nudged.raise();
    }

    /// Queues a message, whose bytes `write` appends. False when it was dropped.
    pub(super) fn send(&self, write: impl FnOnce(&mut BytesMut)) -> bool {
        match self.outbox.push(write) {
            Pushed::Queued => true,
            Pushed::Down | Pushed::Dropped => false,
            Pushed::DroppedFirst => {
                tracing::warn!(peer = %self.peer, "a peer reads too slowly; messages are dropped");
                false
            }
        }
    }

    /// Keeps the link up until it is to end.
    pub(super) async fn run(&self) {
        let mut backoff = Backoff::new(self.local.seed ^ self.peer.0);
        let mut failures = FailureLog::default();
        loop {
            let Some(target) = self.target.borrow().clone() else { return };
            let ended = match self.until_retargeted(self.dial(&target)).await {
                None => None,
                Some(Err(broken)) => {
                    let (peer, cause) = (self.peer, broken.to_string());
                    if failures.is_news(&cause, Instant::now()) {
                        tracing::warn!(%peer, %target, %cause, "cannot reach a peer; trying on");
                    }
                    Some(())
                }
                Some(Ok(connection)) => {
                    failures.clear();
                    let since = Instant::now();
                    let ended = self.serve(&connection).await;
                    if since.elapsed() >= PROVEN {
                        backoff.reset();
                    }
                    ended
                }
            };
            if ended.is_some() {
                self.pause(backoff.next_pause()).await;
            }
        }
    }

    /// Resolves, connects and shakes hands.
    async fn dial(&self, target: &str) -> Result<Rc<Connection>, Broken> {
        if self.local.cluster.get().is_none() {
            return Err(Broken::NoCluster);
        }
        let mut last = Broken::NoAddress;
        for addr in resolve(target).await? {
            match call(&self.local, addr, Purpose::Link, Some(self.peer)).await {
                Ok(connection) => return Ok(connection),
                Err(broken) => last = broken,
            }
        }
        Err(last)
    }

    /// Serves the link while it is up. `None` when it ended because of a new target.
    async fn serve(&self, connection: &Connection) -> Option<()> {
        self.outbox.open();
        tracing::info!(peer = %self.peer, remote = %connection.remote(), "a link to a peer is up");
        self.local.events.link_up(self.peer);
        let ended = self.until_retargeted(self.exchange(connection)).await;
        self.outbox.close();
        // Told before the last messages leave, so that it never comes after a successor's link_up.
        self.local.events.link_down(self.peer);
        match &ended {
            Some(cause) => tracing::warn!(peer = %self.peer, %cause, "a link to a peer is down"),
            None => self.take_leave(connection).await,
        }
        self.outbox.clear();
        ended.map(drop)
    }

    /// Sends what was taken, if the link ends for good, to a peer that reads it in time.
    async fn take_leave(&self, connection: &Connection) {
        if self.target.borrow().is_some() {
            tracing::info!(peer = %self.peer, "a peer has a new address");
            return;
        }
        let flushed = within(FLUSH_TIMEOUT, self.outbox.flush(connection)).await;
        let all_sent = matches!(flushed, Some(Ok(())));
        tracing::info!(peer = %self.peer, all_sent, "a link to a peer is closed");
    }

    /// Writes what is sent, reads that the peer lives, and returns when either fails.
    async fn exchange(&self, connection: &Connection) -> Broken {
        let keep_alive = || {
            self.outbox.keep_alive();
            Ok(())
        };
        let read = or(read_keepalives(connection), connection.watch(keep_alive));
        or(self.outbox.write_to(connection), read).await
    }

    async fn pause(&self, pause: Duration) {
        // Only what happens from now on is a reason to hurry.
        self.nudged.lower();
        self.until_retargeted(within(pause, self.nudged.wait())).await;
    }

    /// What `work` gives, or `None` when the target changed first.
    async fn until_retargeted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let retargeted = async {
            self.retargeted.wait().await;
            None
        };
        or(retargeted, async { Some(work.await) }).await
    }
}

/// Reads what the acceptor of a link sends: keepalives, and nothing else.
async fn read_keepalives(connection: &Connection) -> Broken {
    loop {
        match connection.next_frame().await {
            Ok(body) if body.is_empty() => {}
            Ok(_) => return Broken::WrongWay,
            Err(broken) => return broken,
        }
    }
}
