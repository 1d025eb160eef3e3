//! How nodes talk to each other: Raft's messages and gossip, on one port of TCP and UDP.
//!
//! ```text
//!   node A                                   node B
//!   +--------+   link A->B: TCP, frames      +--------+     A link carries messages one way and
//!   | link   |------------------------------>|acceptor|     lives long; so two connections join
//!   |acceptor|<------------------------------| link   |     each pair of members.
//!   |        |   link B->A                   |        |
//!   |        |                               |        |
//!   |        |   push-pull: TCP, short       |        |     Gossip's full exchange: request,
//!   |        |- - - - - - - - - - - - - - - >|        |     reply, closed.
//!   |        |                               |        |
//!   |        |   packets: UDP                |        |     Gossip's probes and rumours.
//!   |        |<. . . . . . . . . . . . . . .>|        |
//!   +--------+                               +--------+
//! ```
//!
//! Each connection begins with a handshake (`hello`) in which the acceptor may refuse; all that is
//! said on it is cut into frames (`frame`) with a length and a checksum. Nothing here retries a
//! message: Raft and gossip expect loss, and a link only promises that what arrives is whole, and
//! in the order in which it was sent. While a link is up, it loses nothing but what `send` said was
//! dropped.
//!
//! All of it runs on the executor that started it, and no other. There is no encryption and no
//! proof of identity: the port belongs on a network that only members reach.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_lite::future::yield_now;
use glommio::Task;
use glommio::net::{TcpListener, UdpSocket};
use thiserror::Error;

use crate::rpc::wait;
use crate::types::{ClusterId, NodeId};

mod acceptor;
mod connection;
mod datagram;
mod dial;
mod frame;
mod hello;
mod link;
mod links;
mod outbox;
mod port;
mod push_pull;
mod retry;

pub use acceptor::{MAX_INBOUND_LINKS, MAX_INBOUND_PUSH_PULLS, MAX_STRANGERS};
pub use datagram::{MAX_PACKET_BYTES, MAX_QUEUED_PACKETS};
pub use frame::MAX_FRAME_BYTES;
pub use outbox::MAX_LINK_BUFFER_BYTES;
pub use port::{is_tcp_taken, is_udp_taken};
pub use push_pull::{MAX_OUTGOING_PUSH_PULLS, MAX_PUSH_PULL_BYTES};

use acceptor::Acceptor;
use datagram::PacketQueue;
use links::Links;
use retry::FailureLogs;

/// How long either side of a handshake waits for the other.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// How long packets may take to leave when the node stops.
const PACKET_FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Where and who this node is.
#[derive(Clone, Copy, Debug)]
pub struct PeerConfig {
    /// The address of both sockets. Port 0 takes any free port.
    pub bind: SocketAddr,
    /// This node.
    pub node: NodeId,
    /// Decides the jitter of reconnects; different on each node.
    pub seed: u64,
}

/// What the transport tells the node. No call may block or panic. None is made from inside a call
/// of [`PeerTransport`], so each may call it.
pub trait PeerEvents: 'static {
    /// `from` sent a message, of 1 to [`MAX_FRAME_BYTES`]. Messages of one link come in order.
    /// `body` may share a read buffer with the messages around it.
    fn message(&self, from: NodeId, body: Bytes);
    /// What is sent to `peer` from now on may arrive.
    fn link_up(&self, peer: NodeId);
    /// The link to `peer` ended, and with it what was not yet sent. It is dialed again until
    /// removed.
    fn link_down(&self, peer: NodeId);
    /// A UDP packet came, of up to [`MAX_PACKET_BYTES`], from whoever claims that address.
    fn packet(&self, from: SocketAddr, bytes: &[u8]);
    /// A node asks for a push-pull. The reply has up to [`MAX_PUSH_PULL_BYTES`]; `None` declines.
    fn push_pull_request(&self, from: SocketAddr, body: Bytes) -> Option<Bytes>;
    /// What came of [`push_pull`](PeerTransport::push_pull): the reply, or the cause of the
    /// failure.
    fn push_pull_reply(&self, to: SocketAddr, result: Result<Bytes, String>);
}

/// Why the transport cannot start.
#[derive(Debug, Error)]
pub enum PeerError {
    /// Another process has the port.
    #[error(
        "{protocol} port {} on {} is in use by another process; stop it, or bind another address",
        addr.port(),
        addr.ip()
    )]
    PortInUse {
        /// "tcp" or "udp".
        protocol: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot bind {protocol} address {addr}: {source}; is it an address of this machine?")]
    Bind {
        /// "tcp" or "udp".
        protocol: &'static str,
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// The sockets of this node's peers, on one executor. It runs until [`shutdown`](Self::shutdown).
pub struct PeerTransport {
    local: Rc<Local>,
    addr: SocketAddr,
    links: Rc<Links>,
    acceptor: Rc<Acceptor>,
    packets: Rc<PacketQueue>,
    outgoing_push_pulls: Rc<Cell<usize>>,
    push_pull_failures: Rc<RefCell<FailureLogs>>,
    /// `None` once the transport was shut down.
    tasks: RefCell<Option<Tasks>>,
}

/// What runs for as long as the transport does, and owns its sockets.
struct Tasks {
    accepting: Task<()>,
    receiving: Task<()>,
    sending: Task<()>,
}

/// What every part of the transport knows of this node.
struct Local {
    node: NodeId,
    seed: u64,
    /// `None` until the node has joined or made a cluster.
    cluster: Cell<Option<ClusterId>>,
    events: Rc<dyn PeerEvents>,
}

impl PeerTransport {
    /// Binds the port and starts to serve it. Call it on a glommio executor.
    ///
    /// # Errors
    /// When the port is taken or the address cannot be bound; the error says which and why.
    pub fn start(
        config: PeerConfig,
        events: Rc<dyn PeerEvents>,
    ) -> Result<PeerTransport, PeerError> {
        let (listener, socket, addr) = bind(config.bind)?;
        let socket = Rc::new(socket);
        let cluster = Cell::new(None);
        let local = Rc::new(Local { node: config.node, seed: config.seed, cluster, events });
        let links = Links::new(Rc::clone(&local));
        let acceptor = Acceptor::new(Rc::clone(&local), Rc::clone(&links));
        let packets = Rc::new(PacketQueue::default());
        let receiving = {
            let (local, socket) = (Rc::clone(&local), Rc::clone(&socket));
            spawn_later(async move { datagram::receive(&local, &socket).await })
        };
        let sending = {
            let packets = Rc::clone(&packets);
            spawn_later(async move { packets.send_to(&socket).await })
        };
        let accepting = spawn_later(Rc::clone(&acceptor).run(listener));
        Ok(PeerTransport {
            local,
            addr,
            links,
            acceptor,
            packets,
            outgoing_push_pulls: Rc::default(),
            push_pull_failures: Rc::default(),
            tasks: RefCell::new(Some(Tasks { accepting, receiving, sending })),
        })
    }

    /// The address of both sockets, with the port that was taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Makes this node a member of `cluster`: until then it makes no link and accepts none. Links
    /// that are up stay so.
    pub fn set_cluster(&self, cluster: ClusterId) {
        if self.local.cluster.replace(Some(cluster)) != Some(cluster) {
            self.links.nudge_all();
        }
    }

    /// Keeps a link to node `id` at `addr`, a `host:port` whose name is resolved at each attempt. A
    /// changed address is dialed at once; an unchanged one changes nothing.
    ///
    /// # Panics
    /// When `id` is this node.
    pub fn set_peer(&self, id: NodeId, addr: String) {
        self.links.set(id, addr);
    }

    /// Ends the link to node `id`, after a moment to send what it took.
    pub fn remove_peer(&self, id: NodeId) {
        self.links.remove(id);
    }

    /// Sends a message to node `to`: `write` appends its bytes, 1 to [`MAX_FRAME_BYTES`], to the
    /// link's buffer and touches nothing that is there. All messages of one turn of the executor
    /// leave together. False when the link is down or [`MAX_LINK_BUFFER_BYTES`] wait already; the
    /// message is then dropped and `write` is not called. True promises nothing.
    ///
    /// # Panics
    /// When the message is empty or over the limit. `write` must not call the transport.
    pub fn send(&self, to: NodeId, write: impl FnOnce(&mut BytesMut)) -> bool {
        self.links.send(to, write)
    }

    /// Sends a UDP packet, unless [`MAX_QUEUED_PACKETS`] wait already.
    ///
    /// # Panics
    /// When it is over [`MAX_PACKET_BYTES`].
    pub fn send_packet(&self, to: SocketAddr, bytes: Bytes) {
        self.packets.push(to, bytes);
    }

    /// Starts a push-pull with whoever is at `to`; `push_pull_reply` tells the outcome, always.
    pub fn push_pull(&self, to: SocketAddr, body: Bytes) {
        let (local, under_way) = (Rc::clone(&self.local), Rc::clone(&self.outgoing_push_pulls));
        let failures = Rc::clone(&self.push_pull_failures);
        let full = under_way.get() >= MAX_OUTGOING_PUSH_PULLS;
        under_way.set(under_way.get() + 1);
        spawn_later(async move {
            let result = if full {
                Err(format!("{MAX_OUTGOING_PUSH_PULLS} push-pulls are under way already"))
            } else {
                push_pull::ask(&local, to, body).await
            };
            under_way.set(under_way.get() - 1);
            if let Err(cause) = &result
                && failures.borrow_mut().is_news(to, cause, Instant::now())
            {
                let cluster = local.cluster.get().map(|id| id.to_string()).unwrap_or_default();
                tracing::warn!(%to, cause, cluster, "cannot exchange gossip; trying on");
            }
            local.events.push_pull_reply(to, result);
        })
        .detach();
    }

    /// Stops: accepts nothing more, sends what was taken, for at most a second, and closes.
    pub async fn shutdown(&self) {
        let Some(tasks) = self.tasks.take() else { return };
        tasks.accepting.cancel().await;
        tasks.receiving.cancel().await;
        self.links.close().await;
        self.packets.close();
        if wait::within(PACKET_FLUSH_TIMEOUT, tasks.sending).await.is_none() {
            tracing::debug!("some packets were not sent before the end");
        }
        self.acceptor.close_all();
    }
}

/// Spawns a task that begins after the caller is done. Those of glommio begin at once, and would
/// call back into whoever called the transport.
fn spawn_later(task: impl Future<Output = ()> + 'static) -> Task<()> {
    glommio::spawn_local(async move {
        yield_now().await;
        task.await;
    })
}

/// Binds both sockets to one address, after making sure that nobody else has it.
fn bind(addr: SocketAddr) -> Result<(TcpListener, UdpSocket, SocketAddr), PeerError> {
    if addr.port() != 0 {
        refuse_if_taken("tcp", addr, port::is_tcp_taken(addr))?;
        refuse_if_taken("udp", addr, port::is_udp_taken(addr))?;
    }
    let cannot = |protocol| {
        move |error: glommio::GlommioError<()>| PeerError::Bind {
            protocol,
            addr,
            source: error.into(),
        }
    };
    let listener = TcpListener::bind(addr).map_err(cannot("tcp"))?;
    let bound = listener.local_addr().map_err(cannot("tcp"))?;
    let socket = UdpSocket::bind(bound).map_err(cannot("udp"))?;
    Ok((listener, socket, bound))
}

fn refuse_if_taken(
    protocol: &'static str,
    addr: SocketAddr,
    taken: io::Result<bool>,
) -> Result<(), PeerError> {
    match taken {
        Ok(false) => Ok(()),
        Ok(true) => Err(PeerError::PortInUse { protocol, addr }),
        Err(source) => Err(PeerError::Bind { protocol, addr, source }),
    }
}

#[cfg(test)]
mod tests;
