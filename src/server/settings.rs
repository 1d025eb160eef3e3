//! What a server is told at its start: plain values, checked once, never changed while it runs.
//!
//! Where the values come from (flags, environment, file) is the command line's business.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::thread::available_parallelism;

use tracing::Level;

/// The longest node name, in bytes: it travels in gossip packets of one MTU.
const MAX_NODE_NAME_BYTES: usize = 64;
/// The longest `host:port`, in bytes: a DNS name has at most 253, and a member's address 255.
const MAX_ADDR_BYTES: usize = 255;
/// The most addresses to join; more teach a node nothing, one answer suffices.
const MAX_JOIN_ADDRS: usize = 64;
/// The most servers that make a cluster together.
const MAX_FOUNDERS: usize = 32;
/// The most executors.
const MAX_SHARDS: usize = 256;

/// How log lines are written to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The settings of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the log, the snapshots and the node's identity. One server at a time.
    pub data_dir: PathBuf,
    /// The node's label for people. Its identity is in `data_dir`.
    pub node_name: String,
    /// `host:port` of gossip (UDP) and peers (TCP). The host as written is what other members and
    /// clients are told to dial; it is resolved at the start.
    pub bind_addr: String,
    /// The TCP port for clients.
    pub rpc_port: u16,
    /// The TCP port for metrics over HTTP.
    pub metrics_port: u16,
    /// `host:port` of the gossip of members to join through. May include this node itself.
    pub start_join_addrs: Vec<String>,
    /// The address that all listeners bind, if not the one of `bind_addr`.
    pub listen_ip: Option<IpAddr>,
    /// Make a new cluster if neither the data directory nor any address to join knows one.
    pub bootstrap: bool,
    /// The same together with so many servers that are told the same, this one included; 0: never.
    pub bootstrap_expect: usize,
    /// A member that is dead for so long, in milliseconds, is removed; 0: never.
    pub dead_server_timeout_ms: u64,
    /// The dead are not removed from among so few voters.
    pub min_voters: usize,
    /// How many executors share the keys; 0 is one a core.
    pub shards: usize,
    /// The least severe level that is logged.
    pub log_level: Level,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// How long a stopping server waits for its clients, in milliseconds.
    pub drain_timeout_ms: u64,
}

/// A setting whose value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SettingsError {
    /// The flag's name without dashes, which is also the key in the file.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            data_dir: std::env::temp_dir().join("mokv"),
            node_name: host_name(),
            bind_addr: "127.0.0.1:8401".to_owned(),
            rpc_port: 8400,
            metrics_port: 4000,
            start_join_addrs: Vec::new(),
            listen_ip: None,
            bootstrap: false,
            bootstrap_expect: 0,
            dead_server_timeout_ms: 600_000,
            min_voters: 3,
            shards: 1,
            log_level: Level::INFO,
            log_format: LogFormat::Text,
            drain_timeout_ms: 10_000,
        }
    }
}

impl Settings {
    /// Checks everything that can be checked without touching the system.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let fail = |key, problem: String| Err(SettingsError { key, problem });
        if self.data_dir.as_os_str().is_empty() {
            return fail("data-dir", "it is empty; give a directory".to_owned());
        }
        if let Some(problem) = name_problem(&self.node_name) {
            return fail("node-name", problem);
        }
        if let Some(problem) = addr_problem(&self.bind_addr).or_else(|| self.advertise_problem()) {
            return fail("bind-addr", problem);
        }
        if self.start_join_addrs.len() > MAX_JOIN_ADDRS {
            return fail(
                "start-join-addrs",
                format!("more than {MAX_JOIN_ADDRS} addresses; one that answers is enough"),
            );
        }
        for addr in &self.start_join_addrs {
            if let Some(problem) = addr_problem(addr) {
                return fail("start-join-addrs", problem);
            }
        }
        if self.shards > MAX_SHARDS {
            return fail(
                "shards",
                format!("{} is too many; give at most {MAX_SHARDS}", self.shards),
            );
        }
        self.validate_founding()?;
        self.validate_ports()
    }

    /// The host of `bind_addr`, as written, without an IPv6 address's brackets.
    pub fn bind_host(&self) -> &str {
        split_addr(&self.bind_addr).0
    }

    /// The port of gossip and peers.
    pub fn bind_port(&self) -> u16 {
        split_addr(&self.bind_addr).1
    }

    /// `host:port` where clients reach this node: what it tells the cluster.
    pub fn rpc_addr(&self) -> String {
        self.addr_with_port(self.rpc_port)
    }

    /// `host:port` where metrics are served.
    pub fn metrics_addr(&self) -> String {
        self.addr_with_port(self.metrics_port)
    }

    /// Resolves the host of `bind_addr` to this node's address: the first the system gives. It asks the network when the host is a name, so not on an executor's thread.
    ///
    /// # Errors
    /// When the host has no address.
    pub fn resolve_bind_ip(&self) -> io::Result<IpAddr> {
        let mut found = (self.bind_host(), self.bind_port()).to_socket_addrs()?;
        let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        found.next().map(|addr| addr.ip()).ok_or_else(nothing)
    }

    /// The address that all listeners bind, where `ip` is this node's own.
    pub fn listen_ip(&self, ip: IpAddr) -> IpAddr {
        self.listen_ip.unwrap_or(ip)
    }

    /// How many executors `shards` means on this machine.
    pub fn executor_count(&self) -> usize {
        match self.shards {
            // Not knowing the number of cores is no reason not to start.
            0 => available_parallelism().map_or(1, usize::from).min(MAX_SHARDS),
            given => given,
        }
    }

    /// What is logged, in the words of `tracing_subscriber::EnvFilter`.
    pub fn log_directives(&self) -> String {
        // The runtime tries each disk for polled I/O, which few can do, and calls every no an error.
        format!("{},glommio::reactor=off", self.log_level)
    }

    fn addr_with_port(&self, port: u16) -> String {
        let host = self.bind_host();
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn advertise_problem(&self) -> Option<String> {
        let ip: IpAddr = self.bind_host().parse().ok()?;
        ip.is_unspecified().then(|| {
            format!(
                "{ip} is no address that others can dial; give this node's own address or DNS name"
            )
        })
    }

    fn validate_founding(&self) -> Result<(), SettingsError> {
        let fail = |key, problem: String| Err(SettingsError { key, problem });
        if self.bootstrap && self.bootstrap_expect > 0 {
            let problem = "it says the same as bootstrap, for many servers; give one of the two";
            return fail("bootstrap-expect", problem.to_owned());
        }
        if self.bootstrap_expect > MAX_FOUNDERS {
            let problem =
                format!("{} is too many; give at most {MAX_FOUNDERS}", self.bootstrap_expect);
            return fail("bootstrap-expect", problem);
        }
        if self.bootstrap_expect > 1 && self.start_join_addrs.is_empty() {
            let problem =
                "servers that expect each other find each other through it; give addresses";
            return fail("start-join-addrs", problem.to_owned());
        }
        if self.min_voters == 0 {
            return fail("min-voters", "a cluster needs a voter; give at least 1".to_owned());
        }
        Ok(())
    }

    fn validate_ports(&self) -> Result<(), SettingsError> {
        let fail = |key, problem| Err(SettingsError { key, problem });
        for (key, port) in [("rpc-port", self.rpc_port), ("metrics-port", self.metrics_port)] {
            if port == 0 {
                return fail(key, "0 is not a port; give one from 1 to 65535".to_owned());
            }
            if port == self.bind_port() {
                return fail(key, format!("{port} is also the port of bind-addr; choose another"));
            }
        }
        if self.rpc_port == self.metrics_port {
            let problem = format!("{} is also the rpc-port; choose another", self.metrics_port);
            return fail("metrics-port", problem);
        }
        Ok(())
    }
}

/// Splits a validated `host:port`.
fn split_addr(addr: &str) -> (&str, u16) {
    let (host, port) = addr.rsplit_once(':').expect("validate() checked that there is a port");
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    (host, port.parse().expect("validate() checked the port"))
}

fn addr_problem(addr: &str) -> Option<String> {
    let is_host_char = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let valid = addr.len() <= MAX_ADDR_BYTES
        && addr.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
            let host_ok = match bracketed {
                Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
                None => !host.is_empty() && host.chars().all(is_host_char),
            };
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            host_ok && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
    (!valid).then(|| format!("{addr:?} is not host:port, such as 127.0.0.1:8401 or node-1.kv:8401"))
}

fn name_problem(name: &str) -> Option<String> {
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let valid = !name.is_empty() && name.len() <= MAX_NODE_NAME_BYTES && printable;
    (!valid).then(|| {
        format!("{name:?} is not a name: give 1 to {MAX_NODE_NAME_BYTES} bytes without spaces")
    })
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings { node_name: "node-1".to_owned(), ..Settings::default() };
        change(&mut settings);
        settings
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = Settings::default();
        assert_eq!(settings.rpc_addr(), "127.0.0.1:8400");
        assert_eq!(settings.metrics_addr(), "127.0.0.1:4000");
        assert_eq!(settings.bind_port(), 8401);
        assert_eq!(settings.data_dir, std::env::temp_dir().join("mokv"));
        assert_eq!(with(|_| ()).validate(), Ok(()));
    }

    #[test]
    fn hosts_may_be_names_and_both_kinds_of_addresses() {
        for (bind_addr, rpc_addr) in [
            ("10.0.0.7:8401", "10.0.0.7:8400"),
            ("[::1]:8401", "[::1]:8400"),
            (
                "mokv-0.mokv.default.svc.cluster.local:8401",
                "mokv-0.mokv.default.svc.cluster.local:8400",
            ),
        ] {
            let settings = with(|s| s.bind_addr = bind_addr.to_owned());
            assert_eq!(settings.validate(), Ok(()));
            assert_eq!(settings.rpc_addr(), rpc_addr);
        }
    }

    #[test]
    fn each_unusable_value_is_named_with_what_would_be_right() {
        let cases: [(Settings, &str); 9] = [
            (with(|s| s.data_dir = PathBuf::new()), "data-dir: it is empty; give a directory"),
            (
                with(|s| s.node_name = "a b".to_owned()),
                "node-name: \"a b\" is not a name: give 1 to 64 bytes without spaces",
            ),
            (
                with(|s| s.bind_addr = "localhost".to_owned()),
                "bind-addr: \"localhost\" is not host:port, such as 127.0.0.1:8401 or node-1.kv:8401",
            ),
            (
                with(|s| s.bind_addr = "0.0.0.0:8401".to_owned()),
                "bind-addr: 0.0.0.0 is no address that others can dial; \
                 give this node's own address or DNS name",
            ),
            (
                with(|s| s.start_join_addrs = vec!["a:8401".to_owned(), "b:+1".to_owned()]),
                "start-join-addrs: \"b:+1\" is not host:port, such as 127.0.0.1:8401 or node-1.kv:8401",
            ),
            (with(|s| s.rpc_port = 0), "rpc-port: 0 is not a port; give one from 1 to 65535"),
            (
                with(|s| s.rpc_port = 8401),
                "rpc-port: 8401 is also the port of bind-addr; choose another",
            ),
            (
                with(|s| s.metrics_port = 8400),
                "metrics-port: 8400 is also the rpc-port; choose another",
            ),
            (with(|s| s.shards = 257), "shards: 257 is too many; give at most 256"),
        ];
        for (settings, expected) in cases {
            let error = settings.validate().expect_err(expected);
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn zero_shards_means_one_a_core() {
        assert_eq!(with(|s| s.shards = 3).executor_count(), 3);
        assert!(with(|s| s.shards = 0).executor_count() >= 1);
    }

    #[test]
    fn the_runtime_may_not_cry_wolf_at_any_level() {
        let debug = with(|s| s.log_level = Level::DEBUG);
        assert_eq!(debug.log_directives(), "DEBUG,glommio::reactor=off");
    }

    #[test]
    fn a_literal_address_resolves_to_itself() {
        let ip = with(|_| ()).resolve_bind_ip().expect("no lookup is needed");
        assert!(ip.is_loopback());
    }
}
