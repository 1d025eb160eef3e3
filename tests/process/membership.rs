//! Members come and go under load; a disk is lost.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mokv_client::{Client, Error};
use rustix::process::Signal;

use crate::cluster::{Cluster, READY_LIMIT, STOP_LIMIT};
use crate::poll::{self, ensure};
use crate::workload::{Ledger, Writers, value_of, verify};

const WRITERS: usize = 16;
const READERS: usize = 8;
/// Writes that must succeed between two changes.
const ACKS: usize = 300;

#[tokio::test]
async fn three_members_become_five_and_three_again_under_load() {
    let mut cluster = Cluster::start(3).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let client = cluster.client();
    let writers = Writers::start(&ledger, &client, "change", WRITERS);
    writers.wait_for_acks(1).await;
    let readers = Readers::start(&client, ledger.lock().expect("not poisoned").any_acked());

    for _ in 0..2 {
        let number = cluster.add_node();
        cluster.start_node(number);
        cluster.wait_for_voters(&cluster.running()).await;
        writers.wait_for_acks(ACKS).await;
    }
    // One that leads and one that does not.
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    for number in [leader, follower] {
        let addr = cluster.nodes[number].rpc_addr.clone();
        client.leave(&addr).await.expect("a member can leave");
        let mut process = cluster.take_process(number);
        // As a kubelet does behind a preStop hook; it is the first signal, however late.
        process.signal(Signal::TERM);
        let status = poll::until_exit(&mut process, STOP_LIMIT).await;
        assert!(status.success(), "node-{number} left with {status}:\n{}", process.output());
        cluster.wait_for_voters(&cluster.running()).await;
        writers.wait_for_acks(ACKS).await;
    }
    assert_eq!(cluster.running().len(), 3);

    writers.stop().await;
    readers.stop().await;
    verify(&ledger, &cluster).await;
}

#[tokio::test]
async fn a_member_that_lost_its_disk_comes_back_as_a_new_voter() {
    let mut cluster = Cluster::start(3).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let writers = Writers::start(&ledger, &cluster.client(), "wiped", WRITERS);
    writers.wait_for_acks(ACKS).await;
    let lost = (cluster.leader().await + 1) % 3;
    let old_id = cluster.status(lost).await.expect("it answers").node_id;

    cluster.kill(lost);
    fs::remove_dir_all(&cluster.nodes[lost].data_dir).expect("it has a data directory");
    cluster.start_node(lost);
    poll::until("a new self votes, the old one is gone", READY_LIMIT, async || {
        let survivor = &cluster.nodes[(lost + 1) % 3].rpc_addr;
        let servers = cluster.servers_of(survivor).await?;
        let replaced = servers.iter().any(|server| {
            server.id == cluster.nodes[lost].name && server.node_id != old_id && server.is_voter
        });
        let gone = servers.iter().all(|server| server.node_id != old_id);
        ensure(replaced && gone && servers.len() == 3, format!("{servers:?}"))
    })
    .await;
    cluster.wait_until_ready().await;
    writers.wait_for_acks(ACKS).await;
    writers.stop().await;
    verify(&ledger, &cluster).await;
}

#[tokio::test]
async fn a_restart_changes_no_membership() {
    let mut cluster = Cluster::start(3).await;
    let before = cluster.servers_of(&cluster.nodes[0].rpc_addr).await.expect("it answers");
    let identities = |servers: &[mokv_client::Server]| {
        let mut ids: Vec<_> = servers
            .iter()
            .map(|server| (server.id.clone(), server.node_id.clone(), server.is_voter))
            .collect();
        ids.sort();
        ids
    };
    for number in 0..3 {
        cluster.kill(number);
        cluster.start_node(number);
        cluster.wait_until_ready().await;
    }
    let after = cluster.servers_of(&cluster.nodes[0].rpc_addr).await.expect("it answers");
    assert_eq!(identities(&before), identities(&after));
}

/// Readers in the background that must never fail: the client asks another member where it can.
struct Readers {
    stopping: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Result<(), Error>>>,
}

impl Readers {
    /// Starts readers of `key`, which was written.
    fn start(client: &Client, key: String) -> Readers {
        let (stopping, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..READERS).map(|_| {
            let (client, stopping, reads) = (client.clone(), stopping.clone(), reads.clone());
            let key = key.clone();
            tokio::spawn(async move {
                while !stopping.load(Ordering::Relaxed) {
                    assert_eq!(client.get(key.clone()).await?.value, value_of(&key));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let tasks = tasks.collect();
        Readers { stopping, reads, tasks }
    }

    async fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no reader panics").expect("no read fails");
        }
        println!("{} reads, none failed", self.reads.load(Ordering::Relaxed));
    }
}
