//! The commands of the golden scripts. Each script begins with a cluster and tells one behaviour.
//!
//! Everything that a server sends, stores, applies or becomes is traced as it happens; `a → b` is a
//! message on its way. Nothing is delivered and no time passes unless a command says so.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use goldenscript::{Context, Runner};
use test_each_file::test_each_path;

use super::cluster::{Cluster, Envelope, batch, configuration, default_config, show};
use crate::raft::{Config, Message, Raft};
use crate::types::NodeId;

test_each_path! { in "./src/raft/testscripts" as golden => run_script }

/// More deliveries than any script needs: a cluster that has not come to rest by then never will.
const MAX_DELIVERIES: usize = 10_000;

/// Decides the election timeouts; no script depends on which of two servers is the quicker.
const SEED: u64 = 1;

fn run_script(path: &Path) {
    let config = default_config();
    let mut script = Script { cluster: Cluster::new(config.clone(), SEED), config };
    goldenscript::run(&mut script, path).expect("the script runs");
}

struct Script {
    cluster: Cluster,
    /// The limits of the servers that are started next.
    config: Config,
}

/// What a script can do. Servers are numbers; lists of them are separated by commas.
#[derive(goldenscript::Command)]
enum Command {
    /// Sets limits for the servers that are started next.
    Limits {
        #[arg(key)]
        max_inflight_appends: Option<usize>,
        #[arg(key)]
        max_inflight_bytes: Option<usize>,
        #[arg(key)]
        max_append_bytes: Option<usize>,
    },
    /// Starts voters 1 to `voters`, then learners, then servers in no configuration.
    Cluster {
        #[arg(key, optional)]
        voters: u64,
        #[arg(key, optional)]
        learners: u64,
        #[arg(key, optional)]
        others: u64,
    },
    /// Starts voters whose logs hold entries of these terms, one list a server: `logs 1,1,2 1,1`. All
    /// have seen the latest of these terms.
    Logs(Vec<String>),
    /// Makes a server's election timeout pass, for it alone.
    Timeout(u64),
    /// Elects a server and lets everyone follow.
    Elect(u64),
    /// Lets time pass; ticks the given servers, or all.
    Advance {
        ms: u64,
        #[arg(key)]
        only: Option<String>,
    },
    /// Lets time pass in which everything works: ticks each server (or the given ones) ten times an
    /// election timeout, and delivers everything.
    Live {
        ms: u64,
        #[arg(key)]
        only: Option<String>,
    },
    /// Delivers the messages on their way: all of them, or those of this sender, receiver and kind, or
    /// only the first of these.
    Deliver {
        #[arg(key)]
        count: Option<usize>,
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
        #[arg(key)]
        kind: Option<String>,
    },
    /// Delivers until nothing is on its way.
    Settle,
    /// Loses the messages on their way, chosen as in `deliver`.
    Lose {
        #[arg(key)]
        from: Option<u64>,
        #[arg(key)]
        to: Option<u64>,
        #[arg(key)]
        kind: Option<String>,
    },
    /// Makes a second copy of every message on its way.
    Repeat,
    /// Turns the order of the messages on their way around.
    Reorder,
    /// Cuts these servers off from the others.
    Isolate(String),
    /// Ends all isolation.
    Heal,
    /// Proposes entries on a server.
    Propose {
        id: u64,
        #[arg(key)]
        count: Option<usize>,
        #[arg(key, optional)]
        bytes: usize,
    },
    /// Asks to read on a server.
    Read { id: u64, context: u64 },
    /// Proposes a configuration.
    Change {
        id: u64,
        #[arg(key)]
        voters: String,
        #[arg(key)]
        learners: Option<String>,
    },
    /// Hands leadership over.
    Transfer { id: u64, to: Option<u64> },
    /// Keeps a server's writes on their way to its disk.
    HoldDisk(u64),
    /// Finishes a server's writes: the first `count`, or all, and then all later ones too.
    Persist {
        id: u64,
        #[arg(key)]
        count: Option<usize>,
    },
    /// Snapshots what a server has applied, and keeps `kept` entries before it.
    Compact {
        id: u64,
        #[arg(key, optional)]
        kept: u64,
    },
    /// Deletes a server's snapshots, except the newest.
    DeleteOldSnapshots(u64),
    /// Makes the next snapshot that a server receives fail its checks.
    Damage(u64),
    /// Stops a server; what is on its way to the disk is lost.
    Crash(u64),
    /// Starts it again.
    Restart(u64),
    /// Tells a server that its link to another broke.
    BreakLink { id: u64, peer: u64 },
    /// Shows a server's state.
    Status(u64),
    /// Shows the terms of a server's log.
    Log(u64),
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        self.cluster.trace.clear();
        self.execute(command)?;
        Ok(std::mem::take(&mut self.cluster.trace))
    }
}

impl Script {
    fn execute(&mut self, command: &Command) -> Result<(), Box<dyn Error>> {
        let cluster = &mut self.cluster;
        match command {
            Command::Limits { max_inflight_appends, max_inflight_bytes, max_append_bytes } => {
                let usual = default_config();
                self.config = Config {
                    max_inflight_appends: max_inflight_appends
                        .unwrap_or(usual.max_inflight_appends),
                    max_inflight_bytes: max_inflight_bytes.unwrap_or(usual.max_inflight_bytes),
                    max_append_bytes: max_append_bytes.unwrap_or(usual.max_append_bytes),
                    ..usual
                };
            }
            Command::Cluster { voters, learners, others } => {
                self.start(*voters, *learners, *others)
            }
            Command::Logs(logs) => self.start_with_logs(logs)?,
            Command::Timeout(id) => self.time_out(*id)?,
            Command::Elect(id) => {
                self.time_out(*id)?;
                self.settle();
            }
            Command::Advance { ms, only } => self.advance(*ms, only.as_deref())?,
            Command::Live { ms, only } => self.live(*ms, only.as_deref())?,
            Command::Deliver { count, from, to, kind } => {
                let chosen = self.take(*count, *from, *to, kind.as_deref());
                chosen.into_iter().for_each(|envelope| self.cluster.deliver(envelope));
            }
            Command::Settle => self.settle(),
            Command::Lose { from, to, kind } => drop(self.take(None, *from, *to, kind.as_deref())),
            Command::Repeat => cluster.network = cluster.network.iter().flat_map(twice).collect(),
            Command::Reorder => cluster.network = cluster.network.drain(..).rev().collect(),
            Command::Isolate(ids) => cluster.isolated = numbers_as_ids(ids)?.into_iter().collect(),
            Command::Heal => cluster.isolated.clear(),
            Command::Propose { id, count, bytes } => {
                for _ in 0..count.unwrap_or(1) {
                    self.ask(*id, |raft, _| raft.propose(batch(*bytes)));
                }
            }
            Command::Read { id, context } => {
                let result = cluster.read(NodeId(*id), *context);
                self.show_refusal(result);
            }
            Command::Change { id, voters, learners } => {
                let learners = learners.as_deref().map_or(Ok(Vec::new()), numbers)?;
                let target = configuration(&numbers(voters)?, &learners);
                self.ask(*id, |raft, _| raft.propose_configuration(target));
            }
            Command::Transfer { id, to } => {
                self.ask(*id, |raft, now_ms| raft.transfer_leadership(to.map(NodeId), now_ms));
            }
            Command::HoldDisk(id) => cluster.hold_disk(NodeId(*id)),
            Command::Persist { id, count: Some(count) } => cluster.persist(NodeId(*id), *count),
            Command::Persist { id, count: None } => cluster.release_disk(NodeId(*id)),
            Command::Compact { id, kept } => cluster.compact(NodeId(*id), *kept),
            Command::DeleteOldSnapshots(id) => cluster.delete_old_snapshots(NodeId(*id)),
            Command::Damage(id) => cluster.damage_next_snapshot(NodeId(*id)),
            Command::Crash(id) => cluster.crash(NodeId(*id), 0, 0),
            Command::Restart(id) => cluster.start(NodeId(*id)),
            Command::BreakLink { id, peer } => cluster.break_link(NodeId(*id), NodeId(*peer)),
            Command::Status(id) => self.show_status(*id)?,
            Command::Log(id) => self.show_log(*id)?,
        }
        Ok(())
    }

    fn start(&mut self, voters: u64, learners: u64, others: u64) {
        self.cluster = Cluster::new(self.config.clone(), SEED);
        let ids: Vec<u64> = (1..=voters + learners + others).collect();
        let (members, others) = ids.split_at((voters + learners) as usize);
        let (voters, learners) = members.split_at(voters as usize);
        for &id in members {
            self.cluster.add(NodeId(id), configuration(voters, learners), &[], 0);
        }
        for &id in others {
            self.cluster.add(NodeId(id), configuration(&[], &[]), &[], 0);
        }
        // That they all begin as followers goes without saying.
        self.cluster.trace.clear();
    }

    fn start_with_logs(&mut self, logs: &[String]) -> Result<(), Box<dyn Error>> {
        self.cluster = Cluster::new(self.config.clone(), SEED);
        let voters: Vec<u64> = (1..=logs.len() as u64).collect();
        let logs: Vec<Vec<u64>> = logs.iter().map(|log| numbers(log)).collect::<Result<_, _>>()?;
        let term = logs.iter().flatten().max().copied().unwrap_or(0);
        for (log, &id) in logs.iter().zip(&voters) {
            self.cluster.add(NodeId(id), configuration(&voters, &[]), log, term);
        }
        self.cluster.trace.clear();
        Ok(())
    }

    fn time_out(&mut self, id: u64) -> Result<(), Box<dyn Error>> {
        let raft = self.cluster.raft(NodeId(id)).ok_or("it is down")?;
        self.cluster.now_ms = self.cluster.now_ms.max(raft.next_deadline_ms());
        self.cluster.tick(NodeId(id));
        Ok(())
    }

    fn advance(&mut self, ms: u64, only: Option<&str>) -> Result<(), Box<dyn Error>> {
        self.cluster.now_ms += ms;
        let all = self.cluster.servers.keys().copied().collect();
        for id in only.map_or(Ok(all), numbers_as_ids)? {
            self.cluster.tick(id);
        }
        Ok(())
    }

    fn live(&mut self, ms: u64, only: Option<&str>) -> Result<(), Box<dyn Error>> {
        let step_ms = self.config.heartbeat_interval_ms;
        for _ in 0..ms / step_ms {
            self.advance(step_ms, only)?;
            self.settle();
        }
        Ok(())
    }

    fn ask<T, E: std::fmt::Display>(
        &mut self,
        id: u64,
        act: impl FnOnce(&mut Raft, u64) -> Result<T, E>,
    ) {
        let result = self.cluster.with(NodeId(id), act);
        self.show_refusal(result);
    }

    fn show_refusal<T, E: std::fmt::Display>(&mut self, result: Option<Result<T, E>>) {
        if let Some(Err(refusal)) = result {
            let _ = writeln!(self.cluster.trace, "refused: {refusal}");
        }
    }

    fn settle(&mut self) {
        for _ in 0..MAX_DELIVERIES {
            let Some(envelope) = self.cluster.network.pop_front() else { return };
            self.cluster.deliver(envelope);
        }
        panic!("the cluster does not come to rest");
    }

    /// Takes the chosen messages off the network, the first `count` of them if given.
    fn take(
        &mut self,
        count: Option<usize>,
        from: Option<u64>,
        to: Option<u64>,
        kind: Option<&str>,
    ) -> Vec<Envelope> {
        let (mut chosen, mut others) = (Vec::new(), VecDeque::new());
        for envelope in self.cluster.network.drain(..) {
            let is_chosen = count.is_none_or(|count| chosen.len() < count)
                && from.is_none_or(|id| envelope.from == NodeId(id))
                && to.is_none_or(|id| envelope.to == NodeId(id))
                && kind.is_none_or(|kind| kind_of(&envelope.message) == kind);
            if is_chosen {
                chosen.push(envelope);
            } else {
                others.push_back(envelope);
            }
        }
        self.cluster.network = others;
        chosen
    }

    fn show_status(&mut self, id: u64) -> Result<(), Box<dyn Error>> {
        let status = self.cluster.raft(NodeId(id)).ok_or("it is down")?.status();
        let leader = status.leader.map_or("none".to_owned(), |leader| leader.0.to_string());
        let mut shown = format!(
            "{id} {} term={} leader={leader} commit={} log={}..{} snapshot={} {}{}",
            status.role,
            status.term,
            status.commit,
            status.first_index,
            status.last_index,
            status.snapshot_index,
            show(status.configuration),
            if status.has_pending_change { " pending" } else { "" },
        );
        for (peer, progress) in &status.progress {
            let (matched, state) = (progress.match_index, progress.state);
            let _ = write!(shown, "\n  {} match={matched} {state:?}", peer.0);
        }
        let _ = writeln!(self.cluster.trace, "{shown}");
        Ok(())
    }

    fn show_log(&mut self, id: u64) -> Result<(), Box<dyn Error>> {
        let log = &self.cluster.raft(NodeId(id)).ok_or("it is down")?.log;
        let entries = log.slice(log.first_index(), usize::MAX);
        let terms: Vec<String> = entries.iter().map(|entry| entry.term().to_string()).collect();
        let _ = writeln!(self.cluster.trace, "{id} terms: {}", terms.join(" "));
        Ok(())
    }
}

fn twice(envelope: &Envelope) -> [Envelope; 2] {
    [envelope.clone(), envelope.clone()]
}

fn kind_of(message: &Message) -> String {
    message.to_string().split(' ').next().unwrap_or_default().to_owned()
}

fn numbers(list: &str) -> Result<Vec<u64>, Box<dyn Error>> {
    list.split(',').map(|number| Ok(number.parse()?)).collect()
}

fn numbers_as_ids(list: &str) -> Result<Vec<NodeId>, Box<dyn Error>> {
    Ok(numbers(list)?.into_iter().map(NodeId).collect())
}
