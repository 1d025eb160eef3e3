//! Push-pull: two nodes exchange all they know in one request and one reply (SWIM joins this way,
//! where a packet would be too small).
//!
//! ```text
//!   asker  --hello--> --------- --request--> ------- --close-->
//!   server ---------- --answer-- ----------- --reply-            (no reply: declined)
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::Local;
use super::connection::{Broken, Connection};
use super::dial::call;
use super::frame;
use super::hello::Purpose;
use crate::rpc::wait::within;

/// The longest request or reply, in bytes.
pub const MAX_PUSH_PULL_BYTES: usize = 1 << 20;

/// The most push-pulls of this node under way at a time; one more fails at once.
pub const MAX_OUTGOING_PUSH_PULLS: usize = 32;

/// How long a whole exchange may take, on either side.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks whoever is at `to`, and returns its reply.
///
/// # Errors
/// The cause in words, ready for a log.
pub(super) async fn ask(local: &Local, to: SocketAddr, request: Bytes) -> Result<Bytes, String> {
    if request.len() > MAX_PUSH_PULL_BYTES {
        return Err(format!(
            "the request has {} bytes; a push-pull carries at most {MAX_PUSH_PULL_BYTES}",
            request.len()
        ));
    }
    let asked = within(EXCHANGE_TIMEOUT, exchange(local, to, &request)).await;
    match asked.unwrap_or(Err(Broken::TimedOut(EXCHANGE_TIMEOUT))) {
        Ok(reply) => Ok(reply),
        Err(Broken::Closed) => Err("it declined: it closed without a reply".to_owned()),
        Err(broken) => Err(broken.to_string()),
    }
}

/// Serves one exchange on a connection whose hello was accepted.
///
/// # Errors
/// When the asker broke off.
pub(super) async fn serve(local: &Local, connection: &Connection) -> Result<(), Broken> {
    let served = within(EXCHANGE_TIMEOUT, async {
        connection.allow(MAX_PUSH_PULL_BYTES);
        let request = connection.next_frame().await?;
        let Some(reply) = local.events.push_pull_request(connection.remote(), request) else {
            return Ok(());
        };
        if reply.len() > MAX_PUSH_PULL_BYTES {
            tracing::warn!(
                bytes = reply.len(),
                "a push-pull's reply is over the limit; none is sent"
            );
            return Ok(());
        }
        connection.write_all(frame::built(|out| out.put_slice(&reply))).await?;
        // The asker closes first, so that lingering connections are its own and not this port's.
        match connection.next_frame().await {
            Err(Broken::Closed) => Ok(()),
            Err(broken) => Err(broken),
            Ok(_) => Err(Broken::WrongWay),
        }
    });
    served.await.unwrap_or(Err(Broken::TimedOut(EXCHANGE_TIMEOUT)))
}

async fn exchange(local: &Local, to: SocketAddr, request: &[u8]) -> Result<Bytes, Broken> {
    let connection = call(local, to, Purpose::PushPull, None).await?;
    connection.allow(MAX_PUSH_PULL_BYTES);
    connection.write_all(frame::built(|out| out.put_slice(request))).await?;
    connection.next_frame().await
}
