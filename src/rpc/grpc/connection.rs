//! One client's connection: a single task, whatever the number of its calls.
//!
//! Each time the task is woken it takes a turn, and a turn ends with one send:
//!
//! ```text
//!  write the answers that have come ----+
//!  drive h2: read, accept new calls     |  repeated until nothing is left to do
//!  go on with requests and streams  ----+
//!  send what is corked
//! ```
//!
//! What arrives while a turn runs, or while the store works, is answered together by the next one:
//! batches grow with the load, without a timer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::FutureExt;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use h2::server;
use thiserror::Error;

use super::backend::Backend;
use super::calls::Calls;
use super::io::{CorkedIo, Socket};
use super::keepalive::{Keepalive, TICK_MS, Verdict};
use super::server::Shared;
use super::signal::Subscription;
use super::turn::Turn;

/// How many calls a client may have open on one connection, as HTTP/2 counts them.
pub const MAX_CONCURRENT_STREAMS: u32 = 1024;

/// How many bytes of one request may be on their way.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// How many bytes of all requests of a connection may be on their way.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest head of a request, as HTTP/2 counts it.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// How long a client may take to begin with HTTP/2.
const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;
/// How often the silence of a client is looked at.
const TICK: Duration = Duration::from_millis(TICK_MS);
/// How often a turn goes round before it lets others run.
const MAX_PASSES: usize = 16;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum ConnectionEnd {
    #[error("no HTTP/2 preface came within {HANDSHAKE_TIMEOUT_MS} ms")]
    HandshakeTimeout,
    #[error("the client speaks TLS, and this port plaintext gRPC")]
    Tls,
    #[error("the client does not speak HTTP/2: {0}")]
    Handshake(h2::Error),
    #[error("the client broke the rules of HTTP/2: {0}")]
    Protocol(h2::Error),
    #[error("the socket failed: {0}")]
    Socket(io::Error),
    #[error("the client is silent and did not answer a ping")]
    Dead,
    #[error("this server stops, and the client had not begun yet")]
    Draining,
    #[error("the client's calls did not end before this server's deadline to stop")]
    DrainTimeout,
}

type H2Connection = server::Connection<CorkedIo, Bytes>;

/// The state of a connection after its handshake.
struct Connection<B> {
    h2: H2Connection,
    socket: Rc<RefCell<Socket>>,
    calls: Calls<B>,
    keepalive: Keepalive,
    drain: Subscription,
    drain_ms: u64,
    /// When calls that still go on are cut off; set once the server drains.
    drain_deadline: Option<Instant>,
    next_tick: Instant,
    /// A timer and when it fires: never later than the next thing that is due.
    alarm: Option<(Timer, Instant)>,
    turn: Arc<Turn>,
    waker: Waker,
}

/// Serves one client until it leaves, breaks the rules, or the server stops, which `drain` tells.
pub(super) async fn serve_connection<B: Backend>(
    stream: TcpStream,
    mut drain: Subscription,
    shared: Rc<Shared<B>>,
) -> Result<(), ConnectionEnd> {
    stream.set_nodelay(true).map_err(|error| ConnectionEnd::Socket(error.into()))?;
    let socket = Rc::new(RefCell::new(Socket::new(stream)));
    let h2 = handshake(&socket, &mut drain).await?;
    // All of this function is polled by one task, whose waker does not change.
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let mut connection = Connection::new(h2, socket, drain, shared, task);
    poll_fn(|_| connection.poll()).await
}

async fn handshake(
    socket: &Rc<RefCell<Socket>>,
    drain: &mut Subscription,
) -> Result<H2Connection, ConnectionEnd> {
    let mut shaking = server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .handshake::<_, Bytes>(CorkedIo(Rc::clone(socket)));
    let mut timeout = Timer::new(Duration::from_millis(HANDSHAKE_TIMEOUT_MS));
    poll_fn(|cx| {
        if drain.poll_changed(cx).is_ready() {
            return Poll::Ready(Err(ConnectionEnd::Draining));
        }
        socket.borrow_mut().begin_turn();
        let shaken = Pin::new(&mut shaking).poll(cx);
        // The server's settings need not wait for the client's.
        if let Poll::Ready(Err(error)) = socket.borrow_mut().poll_send(cx) {
            return Poll::Ready(Err(ConnectionEnd::Socket(error)));
        }
        match shaken {
            Poll::Ready(Ok(h2)) => Poll::Ready(Ok(h2)),
            Poll::Ready(Err(_)) if socket.borrow().looks_like_tls() => {
                Poll::Ready(Err(ConnectionEnd::Tls))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(ConnectionEnd::Handshake(error))),
            Poll::Pending => timeout.poll(cx).map(|_| Err(ConnectionEnd::HandshakeTimeout)),
        }
    })
    .await
}

impl<B: Backend> Connection<B> {
    fn new(
        mut h2: H2Connection,
        socket: Rc<RefCell<Socket>>,
        drain: Subscription,
        shared: Rc<Shared<B>>,
        task: Waker,
    ) -> Self {
        let ping = h2.ping_pong().expect("only this call takes it, once a connection");
        let turn = Arc::new(Turn::new(task));
        let waker = Waker::from(Arc::clone(&turn));
        let drain_ms = shared.limits.drain_ms;
        Connection {
            h2,
            socket,
            calls: Calls::new(shared, waker.clone()),
            keepalive: Keepalive::new(ping),
            drain,
            drain_ms,
            drain_deadline: None,
            next_tick: Instant::now() + TICK,
            alarm: None,
            turn,
            waker,
        }
    }

    /// Takes one turn.
    ///
    /// The waker of the task itself is `turn`'s to call; everything here is given `self.waker`.
    fn poll(&mut self) -> Poll<Result<(), ConnectionEnd>> {
        let waker = self.waker.clone();
        let cx = &mut Context::from_waker(&waker);
        self.turn.begin();
        self.socket.borrow_mut().begin_turn();
        let end = self.run_turn(cx);
        if end.is_pending() && self.socket.borrow().wants_turn() {
            waker.wake_by_ref();
        }
        self.turn.end();
        end
    }

    fn run_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionEnd>> {
        self.poll_drain(cx);
        self.poll_alarm(cx)?;
        let mut is_quiet = false;
        for _ in 0..MAX_PASSES {
            self.calls.begin_pass(Instant::now());
            self.calls.write_replies();
            // Whatever woke the task so far is seen by what follows.
            self.turn.take_woken();
            if self.poll_h2(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            self.calls.poll_receiving(cx);
            self.calls.poll_streaming(cx);
            is_quiet = !self.turn.take_woken() && !self.calls.has_replies();
            if is_quiet {
                break;
            }
        }
        if !is_quiet {
            cx.waker().wake_by_ref();
        }
        if let Poll::Ready(Err(error)) = self.socket.borrow_mut().poll_send(cx) {
            return Poll::Ready(Err(ConnectionEnd::Socket(error)));
        }
        self.set_alarm(cx);
        Poll::Pending
    }

    /// Reads, writes and takes new calls until `h2` has to wait; ready when the connection is over.
    fn poll_h2(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ConnectionEnd> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => self.calls.open(request, respond, cx),
                Poll::Ready(Some(Err(error))) => return Err(ConnectionEnd::Protocol(error)),
                Poll::Ready(None) => return Ok(Poll::Ready(())),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
    }

    /// Asks the client to leave, once the server stops.
    fn poll_drain(&mut self, cx: &mut Context<'_>) {
        if self.drain.poll_changed(cx).is_ready() {
            self.h2.graceful_shutdown();
            self.calls.begin_drain();
            self.drain_deadline = Some(Instant::now() + Duration::from_millis(self.drain_ms));
        }
    }

    /// Does what is due by the clock.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        let now = Instant::now();
        self.calls.expire(now);
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            let has_received = self.socket.borrow_mut().take_has_received();
            match self.keepalive.tick(has_received, cx) {
                Verdict::Alive => {}
                Verdict::Dead => return Err(ConnectionEnd::Dead),
            }
        }
        match self.drain_deadline {
            Some(deadline) if now >= deadline => Err(ConnectionEnd::DrainTimeout),
            Some(_) | None => Ok(()),
        }
    }

    /// Sees to it that the task is woken when the next thing is due. A timer that fires too early
    /// does no harm, so one that is set is only replaced by an earlier one.
    fn set_alarm(&mut self, cx: &mut Context<'_>) {
        let due = [self.calls.next_deadline(), self.drain_deadline]
            .into_iter()
            .flatten()
            .fold(self.next_tick, Instant::min);
        let now = Instant::now();
        if self.alarm.as_ref().is_some_and(|(_, set)| *set > now && *set <= due) {
            return;
        }
        let mut timer = Timer::new(due.saturating_duration_since(now));
        if timer.poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.alarm = Some((timer, due));
    }
}
