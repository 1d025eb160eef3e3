//! Ports for servers that run beside each other on loopback.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux gives to outgoing connections (32768 and up): a server that is
/// restarted must find its port still free.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

/// Ports on which nothing listens, neither on TCP nor on UDP. This process gets each only once.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Test runs at the same time begin at different places.
    let start = process::id().wrapping_mul(97) as u16;
    let candidates = std::iter::repeat_with(|| {
        FIRST + start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % (LAST - FIRST)
    });
    candidates.filter(|port| is_free(*port)).take(count).collect()
}

fn is_free(port: u16) -> bool {
    let addr = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok()
}
