//! One executor: its shard, its frontend, and, on the first one, the node with its disk and links.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use glommio::Task;
use glommio::net::TcpListener;
use glommio::timer::Timer;

use super::ServeError;
use super::blueprint::Blueprint;
use super::disk::GlommioDisk;
use super::driver::{Driver, Hands};
use super::envelope::Envelope;
use super::fence;
use super::frontend::{Frontend, GrpcBackend};
use super::log_lane::LogDriver;
use super::mesh::{Addressee, Post};
use super::metrics::{Metrics, PUBLISH_INTERVAL, RpcTally};
use super::mind::{Clock, Mind};
use super::shards::ShardHost;
use super::shared::{Phase, Shared};
use super::snapshots::Snapshotter;
use super::view::Views;
use crate::node::Node;
use crate::rpc::grpc;
use crate::rpc::peer::{PeerConfig, PeerTransport};

/// How often an executor looks at what other threads have told it.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What every executor of a server needs.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) rpc_addr: SocketAddr,
    /// Decides where keys fall within a slot's table; secret, so that no client can make them collide.
    pub(super) hash_seed: u64,
    pub(super) drain_timeout: Duration,
}

/// Handles what arrives on one executor.
struct Desk {
    shard: ShardHost,
    views: Rc<Views>,
    frontend: Rc<Frontend>,
    /// Only on the node's executor.
    driver: RefCell<Option<Rc<Driver>>>,
}

impl Addressee for Desk {
    fn receive(&self, envelope: Envelope) {
        match envelope {
            Envelope::Question(question) => {
                let driver = self.driver.borrow().clone();
                driver.expect("questions go to the node's executor").answer(question);
            }
            Envelope::Shard(work) => self.shard.handle(work),
            Envelope::Answer(ticket, answer) => self.frontend.answer(ticket, answer),
        }
    }
}

/// Runs an executor that has no node, until the server closes.
pub(super) async fn run_shard(post: Rc<Post>, common: Common) -> Result<(), ServeError> {
    let desk = Desk::open(&post, &common);
    while !common.shared.is_recovered() && common.shared.phase() == Phase::Running {
        Timer::new(LOOK_INTERVAL).await;
    }
    let serving = desk.serve_clients(&common)?;
    desk.keep_watch(&common, post.local()).await;
    serving.await;
    Ok(())
}

/// Runs the node's executor, from recovery to the last closed connection.
pub(super) async fn run_node(
    post: Rc<Post>,
    common: Common,
    blueprint: Blueprint,
) -> Result<(), ServeError> {
    let desk = Desk::open(&post, &common);
    let disk = Rc::new(GlommioDisk::open(&blueprint.data_dir).await.map_err(ServeError::disk)?);
    fence::execute(&disk, blueprint.first_ops).await;
    let storage = Rc::new(RefCell::new(blueprint.storage));
    let snapshotter = Rc::new(Snapshotter::new(
        Rc::clone(&post),
        Rc::clone(&desk.views),
        Rc::clone(&storage),
        Rc::clone(&disk),
        Arc::clone(&common.metrics),
    ));
    if let Some(index) = blueprint.snapshot {
        snapshotter.load(index).await;
    }
    let clock = Clock::start();
    let cluster = blueprint.config.gossip.identity.cluster;
    let local = blueprint.config.gossip.identity.id;
    let addr = blueprint.config.gossip.identity.addr;
    let node = Node::new(blueprint.config, blueprint.recovered, clock.now_ms());
    let mind = Rc::new(Mind::new(node, clock));
    let metrics = Arc::clone(&common.metrics);
    let log = LogDriver::new(
        Rc::clone(&mind),
        Rc::clone(&snapshotter),
        storage,
        disk,
        Arc::clone(&metrics),
    );
    let hands = Hands {
        post: Rc::clone(&post),
        shared: Arc::clone(&common.shared),
        log: Rc::new(log),
        snapshotter,
        metrics,
        seeds: blueprint.seeds,
        addr,
    };
    let driver = Rc::new(Driver::new(mind, hands));
    *desk.driver.borrow_mut() = Some(Rc::clone(&driver));
    let config = PeerConfig { bind: blueprint.bind, node: local, seed: common.hash_seed };
    let transport = PeerTransport::start(config, Rc::clone(&driver) as _)?;
    if let Some(cluster) = cluster {
        transport.set_cluster(cluster);
    }
    glommio::spawn_local(Rc::clone(&driver).run(transport)).detach();
    common.shared.set_recovered();
    let serving = desk.serve_clients(&common)?;
    glommio::spawn_local(watch_departure(Rc::clone(&driver), common.clone())).detach();
    let publisher = Rc::clone(&driver);
    glommio::spawn_local(every(PUBLISH_INTERVAL, move || publisher.publish())).detach();
    desk.keep_watch(&common, post.local()).await;
    serving.await;
    driver.close_links().await;
    Ok(())
}

/// Leads the server down: by a signal to the process, or because it left its cluster.
async fn watch_departure(driver: Rc<Driver>, common: Common) {
    let told = async {
        while common.shared.phase() == Phase::Running {
            Timer::new(LOOK_INTERVAL).await;
        }
        false
    };
    let removed = async {
        driver.left().await;
        true
    };
    let was_removed = futures_lite::future::or(told, removed).await;
    common.shared.enter(Phase::Draining);
    if was_removed {
        tracing::info!("this server was removed from its cluster");
        common.shared.set_removed();
    }
    let drained = crate::rpc::wait::within(common.drain_timeout, driver.drain()).await;
    if drained.is_none() {
        tracing::warn!("not everything was answered before the drain timeout");
    }
    common.shared.enter(Phase::Closing);
}

async fn every(interval: Duration, act: impl Fn()) {
    loop {
        act();
        Timer::new(interval).await;
    }
}

impl Desk {
    fn open(post: &Rc<Post>, common: &Common) -> Rc<Desk> {
        let views = Rc::new(Views::new(Rc::clone(post)));
        let shared = Arc::clone(&common.shared);
        let desk = Rc::new(Desk {
            shard: ShardHost::new(Rc::clone(post), common.hash_seed),
            views: Rc::clone(&views),
            frontend: Rc::new(Frontend::new(Rc::clone(post), views, shared)),
            driver: RefCell::default(),
        });
        post.deliver_to(Rc::clone(&desk) as _);
        desk
    }

    /// Accepts clients' connections on this executor until the server closes.
    fn serve_clients(&self, common: &Common) -> Result<Task<()>, ServeError> {
        let addr = common.rpc_addr;
        let listener = TcpListener::bind(addr)
            .map_err(|error| ServeError::Bind { addr, cause: error.to_string() })?;
        let backend = Rc::new(GrpcBackend(Rc::clone(&self.frontend)));
        let shared = Arc::clone(&common.shared);
        let closing = async move {
            while shared.phase() < Phase::Closing {
                Timer::new(LOOK_INTERVAL).await;
            }
        };
        let tally: Rc<RpcTally> = Rc::new(common.metrics.rpc.tally());
        let publisher = Rc::clone(&tally);
        glommio::spawn_local(every(PUBLISH_INTERVAL, move || publisher.publish())).detach();
        let limits = grpc::Limits::default();
        Ok(glommio::spawn_local(grpc::serve(listener, backend, tally, limits, closing)))
    }

    /// Passes on what other executors and threads say, until the server closes.
    async fn keep_watch(&self, common: &Common, executor: usize) {
        let mut was_serving = false;
        while common.shared.phase() < Phase::Closing {
            let serving = common.shared.is_serving();
            if serving != was_serving {
                was_serving = serving;
                self.frontend.health_changed();
            }
            let (keys, payload_bytes) = (self.shard.keys(), self.shard.payload_bytes());
            common.shared.set_size(executor, keys, payload_bytes);
            Timer::new(LOOK_INTERVAL).await;
        }
    }
}
