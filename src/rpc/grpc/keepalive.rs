//! Finds clients that are gone without a word, by HTTP/2 pings on silent connections.

use std::task::{Context, Poll};

use h2::{Ping, PingPong};

/// How often a connection looks at its clock.
pub(super) const TICK_MS: u64 = 5_000;

/// How long a client may be silent before it is asked for a sign of life.
const PING_AFTER_MS: u64 = 30_000;

/// How long a client may be silent before its connection is closed.
const DEAD_AFTER_MS: u64 = 50_000;

const _: () = assert!(PING_AFTER_MS + TICK_MS < DEAD_AFTER_MS, "a ping needs time for its answer");

/// How long one client has been silent.
pub(super) struct Keepalive {
    ping: PingPong,
    silent_ms: u64,
    /// A ping is on its way; `h2` allows one at a time.
    is_pinging: bool,
}

/// Whether to keep a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Dead,
}

impl Keepalive {
    pub(super) fn new(ping: PingPong) -> Keepalive {
        Keepalive { ping, silent_ms: 0, is_pinging: false }
    }

    /// To be called every [`TICK_MS`] with whether anything has come from the client since.
    pub(super) fn tick(&mut self, has_received: bool, cx: &mut Context<'_>) -> Verdict {
        self.silent_ms = if has_received { 0 } else { self.silent_ms + TICK_MS };
        if self.is_pinging
            && let Poll::Ready(_) = self.ping.poll_pong(cx)
        {
            self.is_pinging = false;
        }
        if self.silent_ms >= DEAD_AFTER_MS {
            return Verdict::Dead;
        }
        if self.silent_ms >= PING_AFTER_MS && !self.is_pinging {
            // It fails only where the connection is closing, which ends it anyway.
            self.is_pinging = self.ping.send_ping(Ping::opaque()).is_ok();
        }
        Verdict::Alive
    }
}
