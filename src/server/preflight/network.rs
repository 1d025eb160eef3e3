//! Does the host name resolve to an address of this machine, and are the ports free on it?

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Check, Settings};
use crate::rpc::peer;

/// How long a host name may take to appear. A pod's own name enters its cluster's DNS only some
/// seconds after the pod has started.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two lookups.
const RESOLVE_PAUSE: Duration = Duration::from_millis(250);

/// How long a port may take to be given up: the kernel closes the sockets of a server that was killed
/// some milliseconds after its process is gone.
const PORT_PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two looks at a port.
const PORT_PAUSE: Duration = Duration::from_millis(10);

/// How a port is used.
#[derive(Clone, Copy)]
enum Protocol {
    Tcp,
    Udp,
}

/// Resolves the host of `bind-addr` and asks for an unused port on its address, which the system
/// gives to its own addresses alone. The address comes back if it can be used.
pub(super) fn check_address(settings: &Settings) -> (Check, Option<IpAddr>) {
    const NAME: &str = "address";
    const FIX: &str = "give --bind-addr with a name or address of this machine";
    let host = settings.bind_host();
    let fail = |cause: String| (Check::fail(NAME, cause, FIX), None);
    let ip = match resolve_patiently(settings) {
        Ok(ip) => ip,
        Err(error) => {
            return fail(format!("the host of bind-addr, {host}, does not resolve: {error}"));
        }
    };
    let shown = if host == ip.to_string() { host.to_owned() } else { format!("{host}, {ip},") };
    match TcpListener::bind((ip, 0)) {
        Ok(_) => (Check::ok(NAME, format!("{shown} is of this machine")), Some(ip)),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            fail(format!("{shown} is not an address of this machine"))
        }
        Err(error) => fail(format!("{shown} cannot be used: {error}")),
    }
}

fn resolve_patiently(settings: &Settings) -> io::Result<IpAddr> {
    let start = Instant::now();
    loop {
        match settings.resolve_bind_ip() {
            Err(_) if start.elapsed() < RESOLVE_PATIENCE => sleep(RESOLVE_PAUSE),
            settled => return settled,
        }
    }
}

/// Looks at each of the server's ports. The server's own sockets share their ports silently, so this
/// is the only moment to notice that somebody else has one.
pub(super) fn check_ports(settings: &Settings, ip: IpAddr) -> Vec<Check> {
    let rpc = settings.rpc_port;
    let gossip = settings.bind_port();
    let metrics = settings.metrics_port;
    [
        ("rpc port", rpc, Protocol::Tcp),
        ("peer port", gossip, Protocol::Tcp),
        ("gossip port", gossip, Protocol::Udp),
        ("metrics port", metrics, Protocol::Tcp),
    ]
    .map(|(name, port, protocol)| check_port(name, SocketAddr::new(ip, port), protocol))
    .into()
}

fn check_port(name: &'static str, addr: SocketAddr, protocol: Protocol) -> Check {
    let (taken, label, ss_flag) = match protocol {
        Protocol::Tcp => (stays_taken(|| peer::is_tcp_taken(addr)), "tcp", 't'),
        Protocol::Udp => (stays_taken(|| peer::is_udp_taken(addr)), "udp", 'u'),
    };
    let port = addr.port();
    let error = match taken {
        Ok(false) => return Check::ok(name, format!("{addr}/{label} is free")),
        Ok(true) => io::ErrorKind::AddrInUse.into(),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => Check::fail(
            name,
            format!("{addr}/{label} is in use by another process"),
            format!(
                "stop it (ss -ln{ss_flag}p 'sport = :{port}' shows it) or choose another {name}"
            ),
        ),
        io::ErrorKind::PermissionDenied => Check::fail(
            name,
            format!("{addr}/{label} is not allowed to this user: {error}"),
            format!("choose a {name} of 1024 or more"),
        ),
        _ => Check::fail(
            name,
            format!("{addr}/{label} cannot be used: {error}"),
            format!("choose another {name}"),
        ),
    }
}

/// Whether a port is taken and is not given up in time.
fn stays_taken(is_taken: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    let deadline = Instant::now() + PORT_PATIENCE;
    while is_taken()? {
        if Instant::now() >= deadline {
            return Ok(true);
        }
        sleep(PORT_PAUSE);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use std::net::UdpSocket;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn failure(check: &Check) -> String {
        match &check.outcome {
            Outcome::Fail(finding) => finding.to_string(),
            other => panic!("{} should have failed: {other:?}", check.name),
        }
    }

    #[test]
    fn a_port_somebody_listens_on_is_named_with_what_to_do() {
        let other = TcpListener::bind((LOOPBACK, 0)).expect("a free port");
        let port = other.local_addr().expect("bound").port();
        let settings = Settings { rpc_port: port, ..Settings::default() };
        let rpc = &check_ports(&settings, LOOPBACK)[0];
        assert_eq!(
            failure(rpc),
            format!(
                "127.0.0.1:{port}/tcp is in use by another process; stop it \
                 (ss -lntp 'sport = :{port}' shows it) or choose another rpc port"
            )
        );
    }

    #[test]
    fn a_port_that_shares_itself_is_in_use_all_the_same() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket.set_reuse_port(true).expect("a Linux socket can share its port");
        socket.bind(&SocketAddr::new(LOOPBACK, 0).into()).expect("a free port");
        socket.listen(1).expect("a bound socket listens");
        let addr = socket.local_addr().expect("bound").as_socket().expect("an IP socket");
        let check = check_port("rpc port", addr, Protocol::Tcp);
        assert!(failure(&check).contains("in use"));
    }

    #[test]
    fn the_gossip_port_is_tried_by_udp_as_well() {
        let other = UdpSocket::bind((LOOPBACK, 0)).expect("a free port");
        let addr = other.local_addr().expect("bound");
        let settings = Settings { bind_addr: addr.to_string(), ..Settings::default() };
        let gossip = &check_ports(&settings, LOOPBACK)[2];
        assert!(failure(gossip).contains("/udp is in use"));
    }

    #[test]
    fn an_address_of_another_machine_is_told_from_a_busy_port() {
        // 192.0.2.0/24 is reserved for documentation: no machine has it (RFC 5737).
        let settings = Settings { bind_addr: "192.0.2.1:8401".to_owned(), ..Settings::default() };
        let (check, ip) = check_address(&settings);
        assert_eq!(ip, None);
        assert!(failure(&check).starts_with("192.0.2.1 is not an address of this machine"));
    }
}
