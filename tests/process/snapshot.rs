//! A million keys: the log is cut behind a snapshot, and the snapshot is what others start from.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use mokv_client::{Client, Error, Status};

use crate::cluster::Cluster;
use crate::poll::{self, ensure};
use crate::wire;

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 64;
/// Writes in flight while the keys are written.
const IN_FLIGHT: u64 = 1_000;
/// How often a write is tried whose answer was lost to a change of leaders.
const MAX_REPEATS: usize = 10;
/// The time in which a million keys are snapshotted, sent and restored on a small machine.
const BULK_LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_million_keys_survive_truncation_a_fresh_member_and_a_restart() {
    let mut cluster = Cluster::start(3).await;
    let term = cluster.status(0).await.expect("a ready member answers").term;
    let first_segment = oldest_segment(&cluster.nodes[0].data_dir);
    let began = Instant::now();
    let repeated = write_all(&cluster.client()).await;
    println!("{KEYS} keys written in {:?}, {repeated} writes repeated", began.elapsed());
    for number in 0..3 {
        wait_for_status(&cluster, number, "it took a snapshot", |status| {
            status.snapshot_index > 0 && status.keys == KEYS
        })
        .await;
    }
    let elections = cluster.status(0).await.expect("it answers").term - term;
    println!("{elections} elections while the keys were written and snapshots taken");
    poll::until("the log is cut behind the snapshot", BULK_LIMIT, async || {
        let oldest = oldest_segment(&cluster.nodes[0].data_dir);
        ensure(oldest != first_segment, oldest)
    })
    .await;

    let began = Instant::now();
    let fresh = cluster.add_node();
    cluster.start_node(fresh);
    cluster.wait_for_voters(&[0, 1, 2, fresh]).await;
    wait_for_status(&cluster, fresh, "it has every key from a snapshot", |status| {
        status.snapshot_index > 0 && status.keys == KEYS
    })
    .await;
    println!("a fresh member caught up and voted after {:?}", began.elapsed());

    let began = Instant::now();
    cluster.kill_all();
    for number in 0..4 {
        cluster.start_node(number);
    }
    cluster.wait_until_ready().await;
    println!("all members restarted and served after {:?}", began.elapsed());
    for number in [0, fresh] {
        let items =
            wire::list(&cluster.nodes[number].rpc_addr).await.expect("a ready member lists");
        assert_eq!(items.len() as u64, KEYS);
        for i in 0..KEYS {
            let (value, _) = items.get(&key(i)).expect("every key is there");
            assert_eq!(value, &value_of(i));
        }
    }
}

fn key(i: u64) -> String {
    format!("key-{i:012}")
}

fn value_of(i: u64) -> Vec<u8> {
    format!("{i:0VALUE_BYTES$}").into_bytes()
}

/// The name of the oldest segment of a member's log.
fn oldest_segment(data_dir: &Path) -> String {
    let entries = fs::read_dir(data_dir).expect("a member has a data directory");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("wal-")).min().expect("a member has a log")
}

/// Writes every key, and returns how many writes had to be repeated.
async fn write_all(client: &Client) -> usize {
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|first| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut repeated = 0;
                for i in (first..KEYS).step_by(IN_FLIGHT as usize) {
                    repeated += write_until_acknowledged(&client, i).await;
                }
                repeated
            })
        })
        .collect();
    let mut repeated = 0;
    for task in tasks {
        repeated += task.await.expect("every write succeeds in the end");
    }
    repeated
}

/// Writes one key, again where the outcome is unknown, and returns how often it was repeated.
async fn write_until_acknowledged(client: &Client, i: u64) -> usize {
    for repeated in 0..MAX_REPEATS {
        match client.set(key(i), value_of(i)).await {
            Ok(_) => return repeated,
            Err(Error::OutcomeUnknown { .. } | Error::Unavailable { .. }) => {}
            Err(other) => panic!("{}: {other}", key(i)),
        }
    }
    panic!("{} was not acknowledged in {MAX_REPEATS} tries", key(i));
}

async fn wait_for_status(
    cluster: &Cluster,
    number: usize,
    what: &str,
    holds: impl Fn(&Status) -> bool,
) {
    poll::until(&format!("node-{number}: {what}"), BULK_LIMIT, async || {
        let status = cluster.status(number).await.map_err(|error| error.to_string())?;
        ensure(holds(&status), format!("{status:?}"))
    })
    .await;
}
