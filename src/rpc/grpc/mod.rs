//! The gRPC server: `api.KV`, `mokv.v1.Admin`, health and reflection, over `h2` on glommio.
//!
//! ```text
//!   server       accepts, counts and drains connections
//!   connection   one task a connection; its turns            io, turn, keepalive
//!   calls        the open calls of a connection              route, body, respond, streaming
//!   convert      messages of proto/ <-> the store's words    framing, trailers, status
//!   backend      the door to the store                       reply, list, signal
//!   observe      what is told to whoever counts
//! ```
//!
//! The protocol is gRPC over HTTP/2 (`PROTOCOL-HTTP2.md` of the gRPC project): a call is a stream;
//! its request is HEADERS and DATA, its answer HEADERS, DATA and trailing HEADERS that hold the
//! status.
//!
//! What a client can make the server keep is bounded, and each bound has its answer:
//!
//! ```text
//!  connections of an executor         Limits::max_connections      closed, logged
//!  calls of a connection              MAX_CONCURRENT_STREAMS       HTTP/2 refuses the stream
//!    with those it has cancelled      twice that                   RESOURCE_EXHAUSTED
//!  a message                          MAX_MESSAGE_BYTES            RESOURCE_EXHAUSTED, unread
//!  unfinished messages of all         Limits::max_receiving_bytes  RESOURCE_EXHAUSTED
//!  chunks of a list                   LIST_CHUNKS_WAITING          the producer waits
//!  answers on their way to a socket   256 KiB                      the connection waits
//!  a silent connection                10 s, then 50 s              closed, logged
//!  a stop                             Limits::drain_ms             open calls are cut off
//! ```
//!
//! Absent on purpose: TLS, compression, and a task for each call.

mod backend;
mod body;
mod calls;
mod connection;
mod convert;
mod framing;
mod io;
mod keepalive;
mod list;
mod observe;
mod reflection;
mod reply;
mod respond;
mod route;
mod server;
mod signal;
mod status;
mod streaming;
mod timeout;
mod trailers;
mod turn;

/// The messages of `proto/`, as prost generates them.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

pub use backend::{Backend, HealthService, Reply, Request, Role, ServerInfo, StatusInfo};
pub use connection::MAX_CONCURRENT_STREAMS;
pub use framing::MAX_MESSAGE_BYTES;
pub use list::{
    LIST_CHUNK_BYTES, LIST_CHUNKS_WAITING, ListCancelled, ListChunk, ListItem, ListReceiver,
    ListSender, list_channel,
};
pub use observe::{CallEnd, Observer};
pub use reply::{ReplyHandle, ReplyQueue};
pub use route::Method;
pub use server::{Limits, serve};
pub use signal::{Signal, Subscription};
pub use status::{Code, Outcome, Status};

#[cfg(test)]
mod tests;
