//! What crosses the network: gRPC for clients, links and gossip for peers.
//!
//! Both sides speak only to traits that the `server` room implements: [`grpc::Backend`] and
//! [`peer::PeerEvents`]. Nothing here knows what is decided.

pub mod grpc;
pub(crate) mod lookup;
pub mod peer;
pub(crate) mod wait;
