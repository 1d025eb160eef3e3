//! The members the client knows, the connections to them, and whom to ask next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use crate::failure::{Error, Intent};
use crate::options::Options;
use crate::proto::api::Server;

/// A member whose connection failed is asked last for this long, so that one dead member does not
/// cost every call a try.
const COOL_DOWN: Duration = Duration::from_secs(1);
/// The member list is asked for again when it is older than this.
const MEMBERS_FRESH_FOR: Duration = Duration::from_secs(5);

/// Addresses, connections and their recent luck. Shared by all clones of a client.
#[derive(Debug)]
pub(crate) struct Pool {
    seeds: Vec<String>,
    options: Options,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The leader's address as `GetServers` last said it.
    leader: Option<String>,
    /// The other voters' addresses.
    followers: Vec<String>,
    /// One for each address used, and at the next `learn` only those of seeds and members stay.
    channels: BTreeMap<String, Channel>,
    /// Addresses whose connection failed, and when that may be forgotten.
    cooling: BTreeMap<String, Instant>,
    /// Counts reads, to take turns.
    turn: usize,
    /// When the member list was last asked for.
    asked_at: Option<Instant>,
}

impl Pool {
    /// A pool that knows only the addresses it is given, `host:port` each.
    pub(crate) fn new(endpoints: Vec<String>, options: Options) -> Result<Pool, Error> {
        let seeds: Vec<String> =
            endpoints.iter().map(|text| normalize(text)).collect::<Result<_, _>>()?;
        if seeds.is_empty() {
            return Err(Error::Invalid { message: "no endpoint was given".to_owned() });
        }
        Ok(Pool { seeds, options, state: Mutex::default() })
    }

    /// The limits this pool's connections were made with.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The address to send the next try to. `failed` is where the last try failed, if one did.
    pub(crate) fn choose(&self, intent: Intent, failed: Option<&str>) -> String {
        let mut state = self.lock();
        let now = Instant::now();
        state.cooling.retain(|_, until| *until > now);
        let mut candidates = state.candidates(intent, &self.seeds);
        // Stable: the preference order stands among those that did not fail lately.
        candidates
            .sort_by_key(|addr| (failed == Some(addr.as_str()), state.cooling.contains_key(addr)));
        candidates.into_iter().next().expect("a pool has at least one seed")
    }

    /// The connection to `addr`; it is opened by its first use and reopened when it breaks.
    pub(crate) fn channel(&self, addr: &str) -> Result<Channel, Error> {
        let addr = normalize(addr)?;
        let mut state = self.lock();
        if let Some(channel) = state.channels.get(&addr) {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(&addr)?.connect_lazy();
        state.channels.insert(addr, channel.clone());
        Ok(channel)
    }

    /// Takes in an answer to `GetServers`. An empty one teaches nothing, and neither does a member
    /// without a usable address.
    pub(crate) fn learn(&self, servers: &[Server]) {
        let usable = |server: &&Server| normalize(&server.rpc_addr).is_ok();
        let servers: Vec<&Server> = servers.iter().filter(usable).collect();
        if servers.is_empty() || !self.options.discover {
            return;
        }
        let mut state = self.lock();
        state.asked_at = Some(Instant::now());
        state.leader = servers.iter().find(|s| s.is_leader).map(|s| s.rpc_addr.clone());
        state.followers = servers
            .iter()
            .filter(|server| server.is_voter && !server.is_leader)
            .map(|server| server.rpc_addr.clone())
            .collect();
        let known: BTreeSet<&String> =
            servers.iter().map(|server| &server.rpc_addr).chain(&self.seeds).collect();
        state.channels.retain(|addr, _| known.contains(addr));
    }

    /// The leader's address, when one is known.
    pub(crate) fn leader(&self) -> Option<String> {
        self.lock().leader.clone()
    }

    /// Notes that the connection to `addr` failed.
    pub(crate) fn cool(&self, addr: &str) {
        self.lock().cooling.insert(addr.to_owned(), Instant::now() + COOL_DOWN);
    }

    /// True once an interval, for the one caller that shall ask for the members again.
    pub(crate) fn claim_refresh(&self) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let is_old = |at: Instant| now.duration_since(at) >= MEMBERS_FRESH_FOR;
        let due = self.options.discover && state.asked_at.is_none_or(is_old);
        if due {
            state.asked_at = Some(now);
        }
        due
    }

    fn endpoint(&self, addr: &str) -> Result<Endpoint, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}"))
            .map_err(|error| Error::Invalid { message: format!("endpoint {addr:?}: {error}") })?;
        Ok(endpoint
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.options.keepalive_interval)
            .keep_alive_timeout(self.options.keepalive_timeout)
            .keep_alive_while_idle(true))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the pool's lock")
    }
}

impl State {
    /// All addresses, the best first: a write's is the leader, a read's the follower whose turn it
    /// is. The seeds come last, for the cluster may have moved away from all members we knew.
    fn candidates(&mut self, intent: Intent, seeds: &[String]) -> Vec<String> {
        let mut order: Vec<String> = Vec::with_capacity(self.followers.len() + seeds.len() + 1);
        let mut followers = self.followers.clone();
        if !followers.is_empty() {
            let turn = self.turn % followers.len();
            followers.rotate_left(turn);
        }
        let mut seeds = seeds.to_vec();
        let turn = self.turn % seeds.len();
        seeds.rotate_left(turn);
        self.turn = self.turn.wrapping_add(1);
        match intent {
            Intent::Write => order.extend(self.leader.clone()),
            Intent::Read => {}
        }
        order.extend(followers);
        order.extend(self.leader.clone());
        order.extend(seeds);
        order
    }
}

/// `host:port` out of an endpoint as people write it.
fn normalize(endpoint: &str) -> Result<String, Error> {
    let addr = endpoint.trim();
    let addr = addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/');
    let problem = |why: &str| {
        Err(Error::Invalid { message: format!("endpoint {endpoint:?} {why}; write host:port") })
    };
    if addr.contains("://") {
        return problem("has a scheme that is not supported");
    }
    match addr.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0) => {
            Ok(addr.to_owned())
        }
        Some(_) => problem("has no valid host and port"),
        None => problem("has no port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(addr: &str, is_leader: bool, is_voter: bool) -> Server {
        Server { rpc_addr: addr.to_owned(), is_leader, is_voter, ..Server::default() }
    }

    fn pool_of_three() -> Pool {
        let pool = Pool::new(vec!["seed:1".to_owned()], Options::default()).expect("valid");
        pool.learn(&[
            server("a:1", false, true),
            server("b:1", true, true),
            server("c:1", false, true),
            server("learner:1", false, false),
        ]);
        pool
    }

    #[test]
    fn writes_go_to_the_leader_and_reads_take_turns_among_the_followers() {
        let pool = pool_of_three();
        for _ in 0..3 {
            assert_eq!(pool.choose(Intent::Write, None), "b:1");
        }
        let first = pool.choose(Intent::Read, None);
        let second = pool.choose(Intent::Read, None);
        let mut both = [first, second];
        both.sort();
        assert_eq!(both, ["a:1", "c:1"]);
    }

    #[test]
    fn a_client_that_knows_no_member_asks_its_seeds() {
        let pool = Pool::new(vec!["seed:1".to_owned()], Options::default()).expect("valid");
        assert_eq!(pool.choose(Intent::Write, None), "seed:1");
        assert_eq!(pool.choose(Intent::Read, Some("seed:1")), "seed:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_whose_connection_failed_is_asked_last_until_it_cooled_down() {
        let pool = pool_of_three();
        pool.cool("b:1");
        assert_ne!(pool.choose(Intent::Write, None), "b:1");
        tokio::time::advance(COOL_DOWN).await;
        assert_eq!(pool.choose(Intent::Write, None), "b:1");
    }

    #[test]
    fn the_member_that_just_failed_is_not_chosen_again_while_there_is_another() {
        let pool = pool_of_three();
        assert_ne!(pool.choose(Intent::Write, Some("b:1")), "b:1");
    }

    #[test]
    fn a_member_without_a_usable_address_is_passed_over() {
        let pool = pool_of_three();
        pool.learn(&[server("", true, true), server("d:1", false, true)]);
        assert_eq!(pool.choose(Intent::Write, None), "d:1");
        pool.learn(&[server("nowhere", true, true)]);
        assert_eq!(pool.choose(Intent::Write, None), "d:1");
    }

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        assert_eq!(normalize("http://127.0.0.1:8400/"), Ok("127.0.0.1:8400".to_owned()));
        assert_eq!(normalize(" [::1]:8400 "), Ok("[::1]:8400".to_owned()));
        for bad in ["localhost", "https://h:1", ":8400", "h:0", "h:99999", ""] {
            assert!(normalize(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
