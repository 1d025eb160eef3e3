//! Calling a peer: from a name to a connection whose handshake is done.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use glommio::net::TcpStream;

use super::connection::{Broken, Connection};
use super::frame;
use super::hello::{Answer, Hello, Purpose};
use super::{HELLO_TIMEOUT, Local};
use crate::rpc::lookup;
use crate::rpc::wait::within;
use crate::types::NodeId;

/// How long an address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of `target`, a `host:port`, as they are now.
///
/// # Errors
/// When the name cannot be resolved, or has no address.
pub(super) async fn resolve(target: &str) -> Result<Vec<SocketAddr>, Broken> {
    if let Ok(addr) = target.parse() {
        return Ok(vec![addr]);
    }
    let target = target.to_owned();
    let resolving = move || target.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let resolved = lookup::on_a_thread(resolving).await;
    let addrs = resolved.unwrap_or_else(|| Err(io::Error::other("no thread for a lookup")))?;
    if addrs.is_empty() { Err(Broken::NoAddress) } else { Ok(addrs) }
}

/// Connects to `addr` and says hello; `to` is whom to ask for, `None` for whoever is there.
///
/// # Errors
/// When nobody answers in time, what answers is no peer, or it refuses.
pub(super) async fn call(
    local: &Local,
    addr: SocketAddr,
    purpose: Purpose,
    to: Option<NodeId>,
) -> Result<Rc<Connection>, Broken> {
    let connecting = TcpStream::connect_timeout(addr, CONNECT_TIMEOUT);
    let connection = Connection::new(connecting.await.map_err(io::Error::from)?)?;
    let hello = Hello { purpose, cluster: local.cluster.get(), from: local.node, to };
    let answered = within(HELLO_TIMEOUT, shake_hands(&connection, &hello)).await;
    answered.unwrap_or(Err(Broken::TimedOut(HELLO_TIMEOUT)))?;
    Ok(connection)
}

async fn shake_hands(connection: &Connection, hello: &Hello) -> Result<(), Broken> {
    connection.write_all(frame::built(|out| hello.encode(out))).await?;
    let answer = Answer::decode(&connection.next_frame().await?)?;
    match answer.refusal {
        None => Ok(()),
        Some(refusal) => Err(Broken::Refused(answer.explain(refusal))),
    }
}
