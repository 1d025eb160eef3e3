//! Is the port free? The runtime's sockets always share their ports (SO_REUSEPORT), so a second
//! process on the same address would not fail: it would silently take half of the connections.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How long a listener on this machine may take to accept before it counts as there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a process listens on the TCP address, or could not be told from one that does.
///
/// An exclusive bind is not enough to tell: closed connections that linger after a restart
/// (TIME_WAIT) refuse it as well, though not a sharing bind. So a refused bind is followed by a
/// call.
///
/// # Errors
/// When the address cannot be bound for another reason, such as not being of this machine.
pub fn is_tcp_taken(addr: SocketAddr) -> io::Result<bool> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    match socket.bind(&addr.into()) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            match TcpStream::connect_timeout(&addr, PROBE_TIMEOUT) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(false),
                Ok(_) | Err(_) => Ok(true),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether a process has the UDP address.
///
/// # Errors
/// When the address cannot be bound for another reason.
pub fn is_udp_taken(addr: SocketAddr) -> io::Result<bool> {
    match UdpSocket::bind(addr) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    const ANY_PORT: SocketAddr =
        SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0));

    fn sharing_listener(addr: SocketAddr) -> TcpListener {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("an option of Linux");
        socket.bind(&addr.into()).expect("a sharing bind");
        socket.listen(8).expect("a bound socket listens");
        socket.into()
    }

    #[test]
    fn a_listener_that_shares_its_port_is_found() {
        let listener = sharing_listener(ANY_PORT);
        let addr = listener.local_addr().expect("it is bound");
        assert!(is_tcp_taken(addr).expect("a local address"));
    }

    #[test]
    fn connections_that_linger_after_a_restart_do_not_take_the_port() {
        let listener = sharing_listener(ANY_PORT);
        let addr = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(addr).expect("it listens");
        // The server closes first, so the lingering end is the one on the listener's port.
        drop(listener.accept().expect("a client waits"));
        assert_eq!(client.read(&mut [0]).expect("a clean end"), 0);
        drop((client, listener));
        assert!(!is_tcp_taken(addr).expect("a local address"));
        sharing_listener(addr);
    }

    #[test]
    fn a_bound_udp_socket_is_found() {
        let socket = UdpSocket::bind(ANY_PORT).expect("any port");
        let addr = socket.local_addr().expect("it is bound");
        assert!(is_udp_taken(addr).expect("a local address"));
        drop(socket);
        assert!(!is_udp_taken(addr).expect("a local address"));
    }

    #[test]
    fn an_address_of_another_machine_is_an_error_not_a_taken_port() {
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 8401));
        assert!(is_tcp_taken(elsewhere).is_err());
        assert!(is_udp_taken(elsewhere).is_err());
    }
}
