//! What a server is made of, worked out before any executor runs: its identity and what its disk held.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};

use super::disk::StdDisk;
use super::{ServeError, Settings};
use crate::node::Bootstrap;
use crate::storage::{DiskOp, Identity, SEGMENT_BYTES, Storage};
use crate::types::{ClusterId, Index, NodeId};
use crate::{gossip, node, raft};

/// A server that is about to run.
pub(super) struct Blueprint {
    pub(super) data_dir: PathBuf,
    pub(super) storage: Storage,
    /// Must be durable before the server says anything to anyone.
    pub(super) first_ops: Vec<DiskOp>,
    /// The newest snapshot, to be loaded into the map.
    pub(super) snapshot: Option<Index>,
    pub(super) config: node::Config,
    pub(super) recovered: node::Recovered,
    pub(super) seeds: Vec<String>,
    /// What the listeners of gossip and peers bind.
    pub(super) bind: SocketAddr,
}

/// Reads the data directory, or plans a new one.
pub(super) fn draw(settings: &Settings, addr: SocketAddr) -> Result<Blueprint, ServeError> {
    let disk = StdDisk::new(&settings.data_dir);
    let recovered = Storage::recover(&disk, SEGMENT_BYTES)?;
    let Some(recovered) = recovered else { return Ok(draw_new(settings, addr)) };
    let report = recovered.report;
    if let Some((file, offset)) = report.torn_block {
        tracing::info!(%file, offset, "dropped a write that a crash had cut short");
    }
    let identity = recovered.identity;
    tracing::info!(
        node = %identity.node,
        entries = recovered.entries.len(),
        snapshot = recovered.snapshot.as_ref().map_or(0, |meta| meta.index.0),
        "recovered"
    );
    if identity.cluster.is_none() {
        // A crash between the first entry of a cluster and its id leaves a log that belongs to none:
        // nobody else knows of that cluster, and the same entry will supersede this one.
        return Ok(blueprint(settings, addr, identity, recovered.storage, recovered.repairs));
    }
    let snapshot = recovered.snapshot.as_ref().map(|meta| meta.index);
    let raft = raft::Recovered {
        hard_state: recovered.hard_state,
        snapshot: recovered.snapshot.unwrap_or_default(),
        entries: recovered.entries,
    };
    let plan = blueprint(settings, addr, identity, recovered.storage, recovered.repairs);
    Ok(Blueprint { snapshot, recovered: node::Recovered { raft }, ..plan })
}

fn draw_new(settings: &Settings, addr: SocketAddr) -> Blueprint {
    let identity = Identity { node: NodeId(random_u64()), cluster: None };
    tracing::info!(node = %identity.node, "the data directory is empty: this is a new node");
    let (storage, first_ops) = Storage::create(identity, SEGMENT_BYTES);
    blueprint(settings, addr, identity, storage, first_ops)
}

fn blueprint(
    settings: &Settings,
    addr: SocketAddr,
    identity: Identity,
    storage: Storage,
    first_ops: Vec<DiskOp>,
) -> Blueprint {
    let member = gossip::Identity {
        id: identity.node,
        name: settings.node_name.clone(),
        cluster: identity.cluster,
        addr,
        peer_addr: settings.bind_addr.clone(),
        rpc_addr: settings.rpc_addr(),
        incarnation: unix_ms(),
    };
    let config = node::Config {
        raft: raft::Config::lan(identity.node, random_u64()),
        gossip: gossip::Config::lan(member, random_u64()),
        bootstrap: bootstrap(settings),
        fresh_cluster: ClusterId(random_u64()),
        snapshots: node::SnapshotPolicy::default(),
        membership: node::MembershipPolicy {
            dead_after_ms: settings.dead_server_timeout_ms,
            min_voters: settings.min_voters,
        },
    };
    Blueprint {
        data_dir: settings.data_dir.clone(),
        storage,
        first_ops,
        snapshot: None,
        config,
        recovered: node::Recovered::default(),
        seeds: settings.start_join_addrs.clone(),
        bind: SocketAddr::new(settings.listen_ip(addr.ip()), addr.port()),
    }
}

fn bootstrap(settings: &Settings) -> Bootstrap {
    match settings.bootstrap_expect {
        0 if settings.bootstrap => Bootstrap::Alone,
        0 => Bootstrap::Never,
        expected => Bootstrap::Together(expected),
    }
}

/// Wall-clock time, so that a restarted server outbids what was said of it before (SWIM §4.2).
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// A number that nobody can guess and nobody else draws; never 0.
pub(super) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    let read = getrandom(&mut bytes, GetRandomFlags::empty());
    assert_eq!(read, Ok(8), "the system has no randomness");
    u64::from_le_bytes(bytes).max(1)
}
