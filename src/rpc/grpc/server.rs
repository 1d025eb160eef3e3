//! Accepts connections on one executor, and lets them go in good order.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use futures_lite::future::yield_now;
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::sleep;

use super::backend::Backend;
use super::body::ReceiveBudget;
use super::connection::{ConnectionEnd, serve_connection};
use super::observe::Observer;
use super::reflection::Registry;
use super::signal::Signal;

/// What one executor's share of the server may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open; more are closed as they come.
    pub max_connections: usize,
    /// How many bytes of half-received messages may be kept, over all connections.
    pub max_receiving_bytes: usize,
    /// How long calls may go on once the server stops, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_connections: 4096, max_receiving_bytes: 256 << 20, drain_ms: 5_000 }
    }
}

/// How long to wait when the system has no more file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;

/// How often at most a fault that a stranger can cause is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// What all connections of an executor share.
pub(super) struct Shared<B> {
    pub(super) backend: Rc<B>,
    pub(super) observer: Rc<dyn Observer>,
    pub(super) limits: Limits,
    pub(super) receive_budget: Rc<ReceiveBudget>,
    pub(super) registry: Rc<Registry>,
    /// Told once, when the server stops.
    drain: Signal,
    open_connections: Cell<usize>,
    /// Told whenever a connection has ended.
    connection_ended: Signal,
    faults: FaultLog,
}

/// Serves `backend` on `listener` until `shutdown` is ready; then lets the open calls end, for at
/// most `limits.drain_ms`, and returns when the last connection is closed.
pub async fn serve<B: Backend>(
    listener: TcpListener,
    backend: Rc<B>,
    observer: Rc<dyn Observer>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let shared = Rc::new(Shared {
        backend,
        observer,
        limits,
        receive_budget: Rc::new(ReceiveBudget::new(limits.max_receiving_bytes)),
        registry: Rc::new(Registry::of_server()),
        drain: Signal::default(),
        open_connections: Cell::new(0),
        connection_ended: Signal::default(),
        faults: FaultLog::default(),
    });
    shutdown.or(accept_all(&listener, &shared)).await;
    drop(listener);
    let mut ended = shared.connection_ended.subscribe();
    shared.drain.notify();
    while shared.open_connections.get() > 0 {
        poll_fn(|cx| ended.poll_changed(cx)).await;
    }
}

impl<B> Shared<B> {
    fn count_connections(&self, open: usize) {
        self.open_connections.set(open);
        self.observer.connections_changed(open);
    }
}

async fn accept_all<B: Backend>(listener: &TcpListener, shared: &Rc<Shared<B>>) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                admit(stream, shared);
                // Under a flood of connections `accept` never has to wait, and others would.
                yield_now().await;
            }
            Err(error) => {
                shared.faults.log(|| format!("a connection could not be accepted: {error}"));
                sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

/// Starts the task of a connection, or closes it when there are too many.
fn admit<B: Backend>(stream: TcpStream, shared: &Rc<Shared<B>>) {
    let Ok(peer) = stream.peer_addr() else { return };
    let open = shared.open_connections.get();
    if open >= shared.limits.max_connections {
        shared.faults.log(|| format!("{peer} was turned away: {open} connections are open"));
        return;
    }
    shared.count_connections(open + 1);
    let shared = Rc::clone(shared);
    // Here and not in the task, which may first run when the server has already told all to stop.
    let drain = shared.drain.subscribe();
    glommio::spawn_local(async move {
        if let Err(end) = serve_connection(stream, drain, Rc::clone(&shared)).await {
            report(peer, &end, &shared.faults);
        }
        shared.count_connections(shared.open_connections.get() - 1);
        shared.connection_ended.notify();
    })
    .detach();
}

/// What only operators who look for it need is logged at debug; what tells of a misconfigured or
/// hostile client, at most once in a while.
fn report(peer: SocketAddr, end: &ConnectionEnd, faults: &FaultLog) {
    match end {
        ConnectionEnd::Protocol(_) | ConnectionEnd::Socket(_) | ConnectionEnd::Draining => {
            tracing::debug!("the connection of {peer} ended: {end}");
        }
        ConnectionEnd::HandshakeTimeout
        | ConnectionEnd::Tls
        | ConnectionEnd::Handshake(_)
        | ConnectionEnd::Dead
        | ConnectionEnd::DrainTimeout => {
            faults.log(|| format!("the connection of {peer} was closed: {end}"));
        }
    }
}

/// Logs what strangers can cause without letting them fill the disk.
#[derive(Debug, Default)]
struct FaultLog {
    last: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl FaultLog {
    fn log(&self, message: impl FnOnce() -> String) {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now < last + LOG_INTERVAL) {
            self.suppressed.set(self.suppressed.get() + 1);
            return;
        }
        self.last.set(Some(now));
        let suppressed = self.suppressed.take();
        tracing::warn!(suppressed, "{}", message());
    }
}
