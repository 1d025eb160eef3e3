//! Gossip's packets: one UDP socket, read as long as packets are ready, written from a bounded
//! queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use glommio::net::UdpSocket;
use glommio::timer::Timer;

use super::Local;
use super::retry::FailureLog;
use crate::rpc::wait::Signal;

/// The longest packet, in bytes: one that crosses an Ethernet without being cut up.
pub const MAX_PACKET_BYTES: usize = 1472;

/// The most packets that wait to be sent. One more is dropped, as any on its way may be.
pub const MAX_QUEUED_PACKETS: usize = 1024;

/// How long to wait after a failed receive, so that a failing socket does not busy this core.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// Packets that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct PacketQueue {
    packets: RefCell<VecDeque<(SocketAddr, Bytes)>>,
    /// Raised when there is something to send, or nothing will be any more.
    filled: Signal,
    closed: Cell<bool>,
    failures: RefCell<FailureLog>,
}

impl PacketQueue {
    /// Queues a packet.
    ///
    /// # Panics
    /// When it is over [`MAX_PACKET_BYTES`]: gossip fills packets to a budget below that.
    pub(super) fn push(&self, to: SocketAddr, packet: Bytes) {
        let length = packet.len();
        assert!(length <= MAX_PACKET_BYTES, "a packet of {length} bytes is over the limit");
        let mut packets = self.packets.borrow_mut();
        if self.closed.get() || packets.len() >= MAX_QUEUED_PACKETS {
            tracing::debug!(%to, "a packet is dropped: too many wait, or the node stops");
            return;
        }
        packets.push_back((to, packet));
        drop(packets);
        self.filled.raise();
    }

    /// Lets no more packets in; those that wait are still sent.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.filled.raise();
    }

    /// Sends what is queued, as it is queued, until the queue is closed and empty.
    pub(super) async fn send_to(&self, socket: &UdpSocket) {
        while !self.closed.get() {
            self.filled.wait().await;
            self.drain_to(socket).await;
        }
    }

    async fn drain_to(&self, socket: &UdpSocket) {
        loop {
            let packet = self.packets.borrow_mut().pop_front();
            let Some((to, packet)) = packet else { return };
            match socket.send_to(&packet, to).await {
                Ok(_) => {}
                Err(error) => {
                    let cause = error.to_string();
                    if self.failures.borrow_mut().is_news(&cause, Instant::now()) {
                        tracing::warn!(%to, %cause, "cannot send packets");
                    }
                }
            }
        }
    }
}

/// Hands each packet that comes to the node, for as long as it is polled.
pub(super) async fn receive(local: &Local, socket: &UdpSocket) {
    // One byte more than a packet may have tells a longer one, which the kernel would cut silently.
    let mut buffer = [0; MAX_PACKET_BYTES + 1];
    let mut failures = FailureLog::default();
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) if length > MAX_PACKET_BYTES => {
                tracing::debug!(%from, "a packet over the limit was dropped");
            }
            Ok((length, from)) => local.events.packet(from, &buffer[..length]),
            Err(error) => {
                let cause = error.to_string();
                if failures.is_news(&cause, Instant::now()) {
                    tracing::warn!(%cause, "cannot receive packets; trying on");
                }
                Timer::new(RECEIVE_PAUSE).await;
            }
        }
        glommio::yield_if_needed().await;
    }
}
