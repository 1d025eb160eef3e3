//! How long the client waits for what, and whom it asks.

use std::time::Duration;

/// The limits of a [`Client`](crate::Client).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time a call may take, over all its tries; for a list, the time to the next item.
    pub timeout: Duration,
    /// The time one try of a read may take before the next member is asked. A write has no such
    /// limit: it is tried once as long as its outcome is in doubt.
    pub try_timeout: Duration,
    /// The time to open a connection.
    pub connect_timeout: Duration,
    /// The silence after which a connection is probed with an HTTP/2 PING, idle or not.
    pub keepalive_interval: Duration,
    /// The time the answer to that PING may take before the connection is closed.
    pub keepalive_timeout: Duration,
    /// Whether the members are learnt from the cluster, so that each call goes to the one that it
    /// suits best. Otherwise the endpoints are all that is ever asked: for whoever wants to know
    /// whether those serve.
    pub discover: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            timeout: Duration::from_secs(5),
            try_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_millis(500),
            keepalive_interval: Duration::from_secs(5),
            keepalive_timeout: Duration::from_secs(2),
            discover: true,
        }
    }
}
