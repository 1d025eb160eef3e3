//! What every machine has come to, for whoever reads the end of a run.

use super::World;
use crate::sim::host::{Host, Process};
use crate::sim::server::Server;

impl World {
    /// Says how each machine stands.
    pub(in crate::sim) fn say_states(&mut self) {
        for at in 0..self.hosts.len() {
            self.trace.line(self.now_us, || state_of(&self.hosts[at]));
        }
    }
}

fn state_of(host: &Host) -> String {
    let state = match &host.process {
        Process::Down if host.is_retired => "has left".to_owned(),
        Process::Down => "is down".to_owned(),
        Process::Starting(_) => "is starting".to_owned(),
        Process::Running(server) => running_state(server),
    };
    format!("{} {state}", host.name())
}

fn running_state(server: &Server) -> String {
    let (status, storage, gossip) = (server.node.status(), server.storage(), server.node.gossip());
    let voters = server.node.servers().into_iter().filter(|member| member.is_voter);
    let voters: Vec<String> = voters.map(|member| member.name).collect();
    format!(
        "is a {:?} in term {} with voters {}: {} of {} entries applied, {} bytes of log in {} segments \
         up to {}, snapshot at {}; {} claims refused",
        status.role,
        status.term,
        voters.join(" "),
        status.applied,
        status.last_index,
        storage.log_bytes(),
        storage.log_segments(),
        storage.last_index(),
        storage.snapshot_index(),
        gossip.refused_claims(),
    )
}
