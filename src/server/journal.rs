//! What a person on call reads: the node's events, and what became of snapshots from the leader.

use tracing::{debug, error, info, warn};

use crate::lane::Told;
use crate::node::Event;
use crate::types::{Configuration, NodeId};

/// Writes one line of an event.
pub(super) fn record(event: &Event) {
    match event {
        Event::Leader { term, leader: Some(leader) } => info!(term, %leader, "a leader is known"),
        Event::Leader { term, leader: None } => info!(term, "no leader is known"),
        Event::Proposed { reason, .. } => info!(reason, "proposing a change of the members"),
        Event::Configured(configuration) => {
            let members = describe(configuration);
            info!(members, joint = configuration.is_joint(), "the members changed");
        }
        Event::Removed => warn!(
            "this server was removed from its cluster while it was down; \
             its data is set aside, and it joins as a new one when it is started again"
        ),
        Event::BadMessage { from, cause } => {
            warn!(%from, cause, "a peer sent a message that this version cannot read; is it of another version?");
        }
        Event::Member { name, id, state } => info!(name, %id, ?state, "gossip"),
        Event::BadGossip { from, cause } => debug!(%from, cause, "refused a gossip message"),
        Event::ManyClusters(clusters) => {
            let clusters: Vec<String> = clusters.iter().map(ToString::to_string).collect();
            error!(
                clusters = clusters.join(", "),
                "the seeds belong to more than one cluster; joining none. \
                 Check start-join-addrs: all of them must be members of one cluster"
            );
        }
        Event::Uninvited(clusters) => {
            let clusters: Vec<String> = clusters.iter().map(ToString::to_string).collect();
            error!(
                clusters = clusters.join(", "),
                "members of a cluster that none of the seeds knows speak to this server; it enters \
                 and makes none. Check start-join-addrs, here and there: one of them names an \
                 address that is another's now. Once it is right, start this server again"
            );
        }
        Event::NameTaken { name, id } => error!(
            name, %id,
            "a server wants to join with the name of a living member; give it another node-name"
        ),
    }
}

/// Writes one line of what became of a snapshot from the leader.
pub(super) fn record_told(told: &Told) {
    match told {
        Told::SnapshotRejected(rejection) => {
            warn!(%rejection, "dropped a snapshot from the leader; it starts over");
        }
        Told::SnapshotInstalled(meta) => {
            info!(index = meta.index.0, "installed a snapshot from the leader");
        }
        Told::Persisted(_) | Told::Entered(_) => {}
    }
}

fn describe(configuration: &Configuration) -> String {
    let role = |id: &NodeId| {
        if configuration.voters.contains(id) {
            "voter"
        } else if configuration.learners.contains(id) {
            "learner"
        } else {
            "outgoing"
        }
    };
    let members = configuration.members.iter();
    let words: Vec<String> =
        members.map(|(id, member)| format!("{} {} ({id})", role(id), member.name)).collect();
    words.join(", ")
}
