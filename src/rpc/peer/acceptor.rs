//! The incoming side: seats a bounded number of connections and serves each for what it is.
//!
//! ```text
//!   accepted --> [stranger] --hello--> [link]       messages, until it breaks
//!                    |          \----> [push-pull]  one request, one reply
//!                    +--no hello in time, garbage, refused--> closed
//! ```
//!
//! A newer link of a peer takes the place of its older one: the peer would not have dialed while
//! the older one worked. What is refused here is logged by the dialer, which knows how often it
//! tries.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future::or;
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::Timer;

use super::connection::{Broken, Connection};
use super::frame::{self, MAX_FRAME_BYTES};
use super::hello::{Answer, Hello, HelloError, PROTOCOL_VERSION, Purpose, Refusal};
use super::links::Links;
use super::push_pull;
use super::retry::FailureLog;
use super::{HELLO_TIMEOUT, Local};
use crate::rpc::wait::within;
use crate::types::NodeId;

/// The most connections that have not said hello yet. One more, and the oldest of them must go:
/// peers say hello at once, so whoever waited longest is no peer.
pub const MAX_STRANGERS: usize = 64;

/// The most incoming links. One more is refused.
pub const MAX_INBOUND_LINKS: usize = 128;

/// The most push-pulls served at a time. One more is refused.
pub const MAX_INBOUND_PUSH_PULLS: usize = 32;

/// How long to wait after a failed accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections and keeps track of those that are open.
pub(super) struct Acceptor {
    local: Rc<Local>,
    links: Rc<Links>,
    seats: RefCell<BTreeMap<SeatId, Seat>>,
    next_seat: Cell<SeatId>,
}

/// Numbers connections in the order in which they came.
type SeatId = u64;

struct Seat {
    connection: Rc<Connection>,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Stranger,
    Link(NodeId),
    PushPull,
}

impl Acceptor {
    /// Accepts for `local`; a peer that links to this node is dialed back by `links`.
    pub(super) fn new(local: Rc<Local>, links: Rc<Links>) -> Rc<Acceptor> {
        Rc::new(Acceptor { local, links, seats: RefCell::default(), next_seat: Cell::new(0) })
    }

    /// Accepts connections for as long as it is polled.
    pub(super) async fn run(self: Rc<Self>, listener: TcpListener) {
        let mut failures = FailureLog::default();
        loop {
            match listener.accept().await {
                Ok(stream) => self.admit(stream),
                Err(error) => {
                    let cause = error.to_string();
                    if failures.is_news(&cause, Instant::now()) {
                        tracing::warn!(%cause, "cannot accept peers' connections; trying on");
                    }
                    Timer::new(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Closes all connections.
    pub(super) fn close_all(&self) {
        for seat in self.seats.borrow().values() {
            seat.connection.close();
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream) {
        let connection = match Connection::new(stream) {
            Ok(connection) => connection,
            Err(cause) => {
                tracing::debug!(%cause, "a connection broke before it was served");
                return;
            }
        };
        self.make_room_for_stranger();
        let id = self.next_seat.get();
        self.next_seat.set(id + 1);
        let seat = Seat { connection: Rc::clone(&connection), role: Role::Stranger };
        self.seats.borrow_mut().insert(id, seat);
        let acceptor = Rc::clone(self);
        glommio::spawn_local(async move {
            if let Err(cause) = acceptor.attend(id, &connection).await {
                let remote = connection.remote();
                tracing::debug!(%remote, %cause, "a peer's connection ended");
            }
            acceptor.seats.borrow_mut().remove(&id);
        })
        .detach();
    }

    /// Serves a connection from its hello to its end.
    async fn attend(&self, id: SeatId, connection: &Connection) -> Result<(), Broken> {
        let came = within(HELLO_TIMEOUT, connection.next_frame()).await;
        let hello = match Hello::decode(&came.ok_or(Broken::TimedOut(HELLO_TIMEOUT))??) {
            Ok(hello) => hello,
            Err(error @ HelloError::Version(_)) => {
                self.answer(connection, Some(Refusal::Version)).await?;
                return Err(error.into());
            }
            Err(error @ (HelloError::Foreign | HelloError::Code(_))) => return Err(error.into()),
        };
        let refusal = self.seat_for(id, &hello).err();
        self.answer(connection, refusal).await?;
        match (refusal, hello.purpose) {
            (Some(refusal), _) => {
                let remote = connection.remote();
                tracing::debug!(%remote, from = %hello.from, ?refusal, "a peer was turned away");
                Ok(())
            }
            (None, Purpose::Link) => {
                let cause = self.serve_link(hello.from, connection).await;
                tracing::info!(peer = %hello.from, %cause, "a peer's link ended");
                Ok(())
            }
            (None, Purpose::PushPull) => push_pull::serve(&self.local, connection).await,
        }
    }

    /// Gives a connection the role that it asks for.
    fn seat_for(&self, id: SeatId, hello: &Hello) -> Result<(), Refusal> {
        hello.judge(self.local.node, self.local.cluster.get())?;
        let mut seats = self.seats.borrow_mut();
        let (role, taken, limit) = match hello.purpose {
            Purpose::Link => {
                let role = Role::Link(hello.from);
                for older in seats.values().filter(|seat| seat.role == role) {
                    older.connection.close();
                }
                (role, count(&seats, |role| matches!(role, Role::Link(_))), MAX_INBOUND_LINKS)
            }
            Purpose::PushPull => {
                let taken = count(&seats, |role| role == Role::PushPull);
                (Role::PushPull, taken, MAX_INBOUND_PUSH_PULLS)
            }
        };
        if taken >= limit {
            return Err(Refusal::Busy);
        }
        seats.get_mut(&id).expect("a connection keeps its seat while it is served").role = role;
        Ok(())
    }

    async fn answer(
        &self,
        connection: &Connection,
        refusal: Option<Refusal>,
    ) -> Result<(), Broken> {
        let answer = Answer {
            refusal,
            version: PROTOCOL_VERSION,
            cluster: self.local.cluster.get(),
            node: self.local.node,
        };
        connection.write_all(frame::built(|out| answer.encode(out))).await
    }

    async fn serve_link(&self, from: NodeId, connection: &Connection) -> Broken {
        connection.allow(MAX_FRAME_BYTES);
        // The peer lives, perhaps again: the link in the other direction need not wait.
        self.links.nudge(from);
        let watch = connection.watch(|| connection.send_keepalive());
        or(self.read_messages(from, connection), watch).await
    }

    async fn read_messages(&self, from: NodeId, connection: &Connection) -> Broken {
        loop {
            match connection.next_frame().await {
                Ok(body) if body.is_empty() => {}
                Ok(body) => self.local.events.message(from, body),
                Err(broken) => return broken,
            }
        }
    }

    fn make_room_for_stranger(&self) {
        let seats = self.seats.borrow();
        if count(&seats, |role| role == Role::Stranger) < MAX_STRANGERS {
            return;
        }
        let oldest = seats.values().find(|seat| seat.role == Role::Stranger);
        if let Some(seat) = oldest {
            let remote = seat.connection.remote();
            tracing::debug!(%remote, "too many connections without a hello");
            seat.connection.close();
        }
    }
}

fn count(seats: &BTreeMap<SeatId, Seat>, is_such: impl Fn(Role) -> bool) -> usize {
    seats.values().filter(|seat| is_such(seat.role)).count()
}
