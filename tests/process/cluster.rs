//! A cluster of server processes that a test starts, kills, restarts and questions.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use mokv_client::{Client, Options, Server, Status};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::binary::mokv;
use crate::poll::{self, ensure};
use crate::ports::free_ports;
use crate::process::Process;

/// The time in which a server starts, joins, catches up on a small log and serves.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(30);
/// The time in which a stopping server is gone; it allows its clients ten seconds.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How much of each log a failed test prints.
const LOG_TAIL_LINES: usize = 60;

static ONE_CLUSTER_AT_A_TIME: Mutex<()> = Mutex::new(());

/// One member: where it is, and its process while it runs.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// `host:port` for clients.
    pub(crate) rpc_addr: String,
    /// `host:port` for gossip and peers.
    pub(crate) gossip_addr: String,
    pub(crate) metrics_addr: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// Members that know each other, in one temporary directory.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    // Dropped after the nodes: the directory goes when the servers are gone.
    directory: Option<TempDir>,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts `size` members and waits until all of them serve and vote.
    pub(crate) async fn start(size: usize) -> Cluster {
        let mut cluster = Cluster::empty();
        for _ in 0..size {
            let node = cluster.add_node();
            cluster.start_node(node);
        }
        cluster.wait_until_ready().await;
        cluster.wait_for_voters(&(0..size).collect::<Vec<_>>()).await;
        cluster
    }

    /// A cluster without members, once no other test has one.
    pub(crate) fn empty() -> Cluster {
        let alone = ONE_CLUSTER_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = TempDir::with_prefix_in("cluster-", env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory is writable");
        Cluster { nodes: Vec::new(), directory: Some(directory), _alone: alone }
    }

    /// Where its members keep everything.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.as_ref().expect("it is taken only by drop").path()
    }

    /// Writes the config file of one more member, in the form of the Go program, and returns the
    /// member's number. The first one bootstraps, the others are told of all before them.
    pub(crate) fn add_node(&mut self) -> usize {
        let number = self.nodes.len();
        let name = format!("node-{number}");
        let [rpc, gossip, metrics] = free_ports(3)[..] else {
            unreachable!("three were asked for")
        };
        let node = Node {
            rpc_addr: format!("127.0.0.1:{rpc}"),
            gossip_addr: format!("127.0.0.1:{gossip}"),
            metrics_addr: format!("127.0.0.1:{metrics}"),
            data_dir: self.directory().join(&name),
            config: self.directory().join(format!("{name}.yaml")),
            log: self.directory().join(format!("{name}.log")),
            process: None,
            name,
        };
        let mut config = format!(
            "data-dir: {}\nnode-name: {}\nbind-addr: {}\nrpc-port: {rpc}\nmetrics-port: {metrics}\n",
            node.data_dir.display(),
            node.name,
            node.gossip_addr,
        );
        match &self.nodes[..] {
            [] => config.push_str("bootstrap: true\n"),
            seeds => {
                config.push_str("start-join-addrs:\n");
                for seed in seeds {
                    writeln!(config, "  - {}", seed.gossip_addr).expect("a string takes all");
                }
            }
        }
        fs::write(&node.config, config).expect("the test's directory is writable");
        self.nodes.push(node);
        number
    }

    /// Starts a member that does not run.
    pub(crate) fn start_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        assert!(node.process.is_none(), "{} runs already", node.name);
        let mut command = Command::new(mokv());
        command.arg(format!("--config-file={}", node.config.display()));
        node.process = Some(Process::spawn(&mut command, &node.log).expect("mokv can be started"));
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, number: usize) {
        self.nodes[number].process.take().expect("it runs").kill();
    }

    /// `kill -9` of all members, as close together as one can.
    pub(crate) fn kill_all(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            process.signal(Signal::KILL);
        }
        for node in &mut self.nodes {
            node.process = None;
        }
    }

    /// Sends a signal to a member that runs.
    pub(crate) fn signal(&mut self, number: usize, signal: Signal) {
        self.nodes[number].process.as_mut().expect("it runs").signal(signal);
    }

    /// The process of a member, which leaves the cluster's care.
    pub(crate) fn take_process(&mut self, number: usize) -> Process {
        self.nodes[number].process.take().expect("it runs")
    }

    /// Whether a member has a process that has not ended.
    pub(crate) fn is_running(&mut self, number: usize) -> bool {
        let process = self.nodes[number].process.as_mut();
        process.is_some_and(|process| process.exit_status().is_none())
    }

    /// Numbers of the members whose process was not taken or killed.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].process.is_some()).collect()
    }

    /// A client that may use every running member.
    pub(crate) fn client(&self) -> Client {
        let endpoints =
            self.running().into_iter().map(|number| self.nodes[number].rpc_addr.clone());
        Client::new(endpoints, Options::default()).expect("the addresses are well formed")
    }

    /// What a member knows of itself.
    pub(crate) async fn status(&self, number: usize) -> Result<Status, mokv_client::Error> {
        self.client().status(&self.nodes[number].rpc_addr).await
    }

    /// Waits until every running member says that it serves.
    pub(crate) async fn wait_until_ready(&mut self) {
        let client = self.client();
        for number in self.running() {
            let addr = self.nodes[number].rpc_addr.clone();
            let what = format!("node-{number} serves");
            poll::until(&what, READY_LIMIT, async || {
                assert!(self.is_running(number), "node-{number} ended");
                match client.health(&addr, "").await {
                    Ok(true) => Ok(()),
                    other => Err(other),
                }
            })
            .await;
        }
    }

    /// Waits until the voters are these members and there is no learner, as every one of them sees.
    pub(crate) async fn wait_for_voters(&self, numbers: &[usize]) {
        let expected: Vec<&str> =
            numbers.iter().map(|number| self.nodes[*number].name.as_str()).collect();
        let what = format!("the members are {expected:?} and all vote");
        for number in numbers {
            let addr = &self.nodes[*number].rpc_addr;
            poll::until(&what, READY_LIMIT, async || {
                let servers = self.servers_of(addr).await?;
                let mut names: Vec<_> = servers.iter().map(|server| server.id.as_str()).collect();
                names.sort_unstable();
                let all_vote = servers.iter().all(|server| server.is_voter);
                ensure(names == expected && all_vote, format!("{servers:?}"))
            })
            .await;
        }
    }

    /// The members as the one at `addr` knows them.
    pub(crate) async fn servers_of(&self, addr: &str) -> Result<Vec<Server>, String> {
        let client = Client::new([addr], Options::default()).expect("the address is well formed");
        client.servers().await.map_err(|error| error.to_string())
    }

    /// The member that leads, once a running member knows one that runs.
    pub(crate) async fn leader(&self) -> usize {
        let client = self.client();
        poll::until("there is a leader", READY_LIMIT, async || {
            let mut seen = String::new();
            for number in self.running() {
                let status = client.status(&self.nodes[number].rpc_addr).await;
                if status.as_ref().is_ok_and(|status| status.role == "leader") {
                    return Ok(number);
                }
                write!(seen, "{number}: {status:?} ").expect("a string takes all");
            }
            Err(seen)
        })
        .await
    }
}

impl Node {
    /// Everything that it has printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if !thread::panicking() {
            return;
        }
        for node in &self.nodes {
            let output = node.output();
            let lines: Vec<&str> = output.lines().collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
            println!("==== {}\n{}", node.log.display(), tail.join("\n"));
        }
        let kept = self.directory.take().expect("it is taken only here").keep();
        println!("==== everything is kept in {}", kept.display());
    }
}
