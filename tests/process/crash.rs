//! `kill -9` under load: what was acknowledged stays, once.
//!
//! `MOKV_CHAOS_ROUNDS` sets how many crashes each test makes. The clusters are started afresh from
//! time to time, so that the lists to check stay of a size.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mokv::prng::Prng;

use crate::cluster::Cluster;
use crate::workload::{Ledger, Writers, verify};

/// Crashes of each test unless `MOKV_CHAOS_ROUNDS` says otherwise.
const ROUNDS: usize = 3;
const ROUNDS_OF_A_CLUSTER: usize = 10;
const WRITERS: usize = 64;
/// Writes before a crash are between this and ten times as many; after it, this many.
const ACKS: usize = 500;
/// The time within which writes must go on after the leader's death.
const RESUME_LIMIT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn no_acknowledged_write_is_lost_or_applied_twice_when_leaders_are_killed() {
    let mut prng = Prng::new(1);
    let mut resumed = Vec::new();
    let mut cluster = Cluster::empty();
    let mut ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..rounds() {
        if round % ROUNDS_OF_A_CLUSTER == 0 {
            drop(cluster);
            cluster = Cluster::start(3).await;
            ledger = Arc::default();
        }
        let client = cluster.client();
        let writers = Writers::start(&ledger, &client, &format!("leader-{round}"), WRITERS);
        writers.wait_for_acks(acks_before_crash(&mut prng)).await;
        let leader = cluster.leader().await;
        let moment = Instant::now();
        cluster.kill(leader);
        resumed.push(writers.time_to_resume(moment).await);
        writers.wait_for_acks(ACKS).await;
        cluster.start_node(leader);
        cluster.wait_until_ready().await;
        writers.stop().await;
        verify(&ledger, &cluster).await;
        let last = resumed.last().expect("one was just pushed");
        println!("round {round}: writes resumed after {last:?}");
    }
    resumed.sort();
    println!("writes resumed after the leader's death: {}", distribution(&resumed));
    let slowest = resumed.last().expect("there was a round");
    assert!(*slowest <= RESUME_LIMIT, "writes resumed only after {slowest:?}");
}

#[tokio::test]
async fn every_acknowledged_write_is_there_after_all_members_are_killed_at_once() {
    let mut prng = Prng::new(2);
    let mut cluster = Cluster::empty();
    let mut ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 0..rounds() {
        if round % ROUNDS_OF_A_CLUSTER == 0 {
            drop(cluster);
            cluster = Cluster::start(3).await;
            ledger = Arc::default();
        }
        let client = cluster.client();
        let writers = Writers::start(&ledger, &client, &format!("all-{round}"), WRITERS);
        writers.wait_for_acks(acks_before_crash(&mut prng)).await;
        cluster.kill_all();
        for number in 0..3 {
            cluster.start_node(number);
        }
        cluster.wait_until_ready().await;
        writers.wait_for_acks(ACKS).await;
        writers.stop().await;
        verify(&ledger, &cluster).await;
        println!("round {round}: all members were killed");
    }
}

/// Another number in each round, so that crashes meet the servers at different work.
fn acks_before_crash(prng: &mut Prng) -> usize {
    ACKS + prng.below(9 * ACKS as u64) as usize
}

fn rounds() -> usize {
    env::var("MOKV_CHAOS_ROUNDS")
        .map(|text| text.parse().expect("MOKV_CHAOS_ROUNDS is a number"))
        .unwrap_or(ROUNDS)
}

fn distribution(sorted: &[Duration]) -> String {
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    format!("min {:?}, median {:?}, p90 {:?}, max {:?}", at(0), at(50), at(90), at(100))
}
