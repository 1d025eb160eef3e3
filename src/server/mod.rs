//! A running server: glommio executors, the disk, and the node that decides.
//!
//! ```text
//!  executor 0                                    executor 1 ..
//!  +---------------------------------------+     +---------------------+
//!  | driver: node <-> log lane, peer links |     |                     |
//!  | frontend: gRPC connections            | <-> | frontend            |   batches, by the post
//!  | shard 0: slots 0, n, 2n, ...          |     | shard 1             |
//!  +---------------------------------------+     +---------------------+
//! ```
//!
//! One executor that owns everything is a first-class case: then nothing ever crosses a core.

mod archive;
mod blueprint;
mod disk;
mod driver;
mod envelope;
mod executor;
mod fence;
mod frontend;
mod journal;
mod listing;
mod log_lane;
mod mesh;
mod metrics;
mod mind;
pub mod preflight;
mod settings;
mod shards;
mod shared;
mod signals;
mod snapshots;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use glommio::channels::channel_mesh::MeshBuilder;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement, PoolPlacement};
use thiserror::Error;

pub use settings::{LogFormat, Settings, SettingsError};

use crate::rpc::peer::PeerError;
use crate::storage::RecoveryError;
use blueprint::Blueprint;
use envelope::Envelope;
use executor::Common;
use mesh::{CHANNEL_BATCHES, NODE_EXECUTOR, Post};
use metrics::Metrics;
use preflight::{DataDirLock, LockError, PreflightError};
use shared::{Phase, Shared};

/// Threads of an executor for calls that block: a slow name server must not hold up a sync of the
/// data directory.
const BLOCKING_THREADS: usize = 4;
/// Registered I/O buffers of an executor; glommio's default would pin 10 MiB three times.
const IO_MEMORY_BYTES: usize = 2 << 20;

/// Why a server cannot start, or had to stop. Each says what to do.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Something on this machine is in the way.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The data directory is another process's, or cannot be written.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The data directory's content cannot be used.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The peers' port cannot be used.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The clients' or the metrics' port cannot be used.
    #[error("cannot listen on {addr}: {cause}; free the port, or choose another")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        cause: String,
    },
    /// The address to bind does not resolve.
    #[error("bind-addr {addr}: {cause}; give an address of this machine as host:port")]
    Address {
        /// As configured.
        addr: String,
        /// What the system said.
        cause: String,
    },
    /// The data directory cannot be opened.
    #[error("cannot open the data directory: {0}")]
    Disk(String),
    /// An executor could not be started, or died.
    #[error("the runtime failed: {0}; `mokv doctor` checks what it needs")]
    Runtime(String),
}

impl ServeError {
    fn disk(error: impl std::fmt::Display) -> ServeError {
        ServeError::Disk(error.to_string())
    }

    fn runtime(error: impl std::fmt::Display) -> ServeError {
        ServeError::Runtime(error.to_string())
    }
}

/// Runs a server until it is told to stop or leaves its cluster. Blocks.
///
/// # Errors
/// When it cannot start, or its runtime fails.
pub fn run(settings: Settings) -> Result<(), ServeError> {
    let report = preflight::run(&settings);
    for (check, finding) in report.warnings() {
        tracing::warn!(check, %finding, "preflight");
    }
    report.into_result()?;
    let lock = DataDirLock::acquire(&settings.data_dir)?;
    let addr = settings.bind_addr.clone();
    let ip = settings
        .resolve_bind_ip()
        .map_err(|error| ServeError::Address { addr, cause: error.to_string() })?;
    let peer_addr = SocketAddr::new(ip, settings.bind_port());
    let rpc_addr = SocketAddr::new(settings.listen_ip(ip), settings.rpc_port);
    let metrics_addr = SocketAddr::new(settings.listen_ip(ip), settings.metrics_port);
    let executors = settings.executor_count();
    let shared = Arc::new(Shared::new(&settings, executors));
    signals::watch(Arc::clone(&shared)).map_err(ServeError::runtime)?;
    let metrics = Arc::new(Metrics::new(&settings.data_dir));
    metrics::serve(Arc::clone(&metrics), metrics_addr)
        .map_err(|error| ServeError::Bind { addr: metrics_addr, cause: error.to_string() })?;
    let plan = blueprint::draw(&settings, peer_addr)?;
    let node = plan.config.raft.id;
    let common = Common {
        shared: Arc::clone(&shared),
        metrics,
        rpc_addr,
        hash_seed: blueprint::random_u64(),
        drain_timeout: Duration::from_millis(settings.drain_timeout_ms),
    };
    tracing::info!(name = settings.node_name, %peer_addr, %rpc_addr, executors, "starting");
    let handles = start(&settings, executors, &common, plan)?;
    let result = wait_for_all(handles);
    if shared.is_removed() {
        let archive = archive::archive(&settings.data_dir, node).map_err(ServeError::disk)?;
        tracing::info!(archive = %archive.display(), "set this server's data aside");
    }
    drop(lock);
    tracing::info!("stopped");
    result
}

fn start(
    settings: &Settings,
    executors: usize,
    common: &Common,
    plan: Blueprint,
) -> Result<Vec<ExecutorJoinHandle<Result<(), ServeError>>>, ServeError> {
    let mesh: MeshBuilder<Vec<Envelope>, _> = MeshBuilder::full(executors, CHANNEL_BATCHES);
    let mut plan = Some(plan);
    let mut handles = Vec::with_capacity(executors);
    for executor in 0..executors {
        // Pinned only when there is one a core: otherwise the kernel knows better.
        let placement =
            if settings.shards == 0 { Placement::Fixed(executor) } else { Placement::Unbound };
        let plan = (executor == NODE_EXECUTOR).then(|| plan.take().expect("there is one node"));
        let (common, mesh) = (common.clone(), mesh.clone());
        let main = move || async move {
            let post = Post::new(executor, executors);
            if executors > 1 {
                let (senders, receivers) = mesh.join().await.map_err(ServeError::runtime)?;
                post.connect(senders, receivers);
            }
            let shared = Arc::clone(&common.shared);
            let result = match plan {
                Some(plan) => executor::run_node(post, common, plan).await,
                None => executor::run_shard(post, common).await,
            };
            // One that cannot go on takes the others with it.
            shared.enter(Phase::Closing);
            result
        };
        let builder = LocalExecutorBuilder::new(placement)
            .name(&format!("mokv-{executor}"))
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .io_memory(IO_MEMORY_BYTES);
        handles.push(builder.spawn(main).map_err(ServeError::runtime)?);
    }
    Ok(handles)
}

fn wait_for_all(
    handles: Vec<ExecutorJoinHandle<Result<(), ServeError>>>,
) -> Result<(), ServeError> {
    let mut result = Ok(());
    for handle in handles {
        let ended = handle.join().unwrap_or_else(|error| Err(ServeError::runtime(error)));
        result = result.and(ended);
    }
    result
}
