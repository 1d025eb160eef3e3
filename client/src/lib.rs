//! A client of mökv.
//!
//! Every member of a cluster serves every call, so one reachable address is enough. This client
//! learns the others from `GetServers` and saves them work: writes go straight to the leader, which
//! must see them anyway, and reads take turns among the other voters.
//!
//! ```text
//!   set, delete ──────────────► leader        another member only when the leader is out of reach
//!   get, list, get_stale ─────► followers     in turn; then the leader, then the seed endpoints
//!   status, leave, health ────► the member named by the caller
//! ```
//!
//! # What an error says
//!
//! A reader of [`Error`] must be able to tell what happened to the data:
//!
//! - a read is tried on member after member until it is answered or [`Options::timeout`] has passed;
//! - a write is sent again only when the last try certainly did nothing: the connection was refused,
//!   or the server said so. In every other case the answer is [`Error::OutcomeUnknown`], because a
//!   second try could apply the write twice, and the second time after somebody else's write.
//!
//! ```no_run
//! # async fn example() -> Result<(), mokv_client::Error> {
//! use mokv_client::{Client, Options};
//!
//! let client = Client::connect(["127.0.0.1:8400"], Options::default()).await?;
//! let revision = client.set("greeting", "hello").await?;
//! assert_eq!(client.get("greeting").await?.value, "hello");
//! # let _ = revision;
//! # Ok(())
//! # }
//! ```

mod client;
mod details;
mod failure;
mod list;
mod options;
mod pool;
mod proto;

#[cfg(test)]
mod fake;

pub use client::{Client, MAX_VALUE_BYTES, Value};
pub use failure::Error;
pub use list::{Item, List};
pub use options::Options;
pub use proto::api::Server;
pub use proto::v1::StatusResponse as Status;
