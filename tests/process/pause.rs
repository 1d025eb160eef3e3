//! A leader that stands still and wakes up again believes for a moment that it leads.

use std::time::Duration;

use mokv_client::{Client, Options};
use rustix::process::Signal;

use crate::cluster::{Cluster, READY_LIMIT};
use crate::poll;
use crate::wire::{self, GetRequest, GetResponse};

const ROUNDS: usize = 5;
const OK: u32 = 0;

#[tokio::test]
async fn a_leader_that_was_paused_answers_no_read_from_its_past() {
    let mut cluster = Cluster::start(3).await;
    cluster.client().set("key", "round 0").await.expect("a healthy cluster takes a write");
    for round in 1..=ROUNDS {
        let leader = cluster.leader().await;
        cluster.signal(leader, Signal::STOP);
        let value = format!("round {round}");
        write_past(&cluster, leader, &value).await;

        // These lie in its sockets when it wakes up, before any news of its successor.
        let addr = cluster.nodes[leader].rpc_addr.clone();
        let reads: Vec<_> = (0..16)
            .map(|_| {
                let addr = addr.clone();
                tokio::spawn(async move {
                    wire::call(&addr, "/api.KV/Get", &GetRequest { key: "key".to_owned() }).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        cluster.signal(leader, Signal::CONT);
        for read in reads {
            // To refuse is right as well, and so is to close the connection.
            if let Ok(answer) = read.await.expect("a read does not panic")
                && answer.status == Some(OK)
            {
                let read = wire::decode::<GetResponse>(&answer).value;
                assert_eq!(read, value, "the woken leader answered from its past");
            }
        }
        cluster.wait_until_ready().await;
    }
}

/// Writes through the members that are not paused, once they have a leader.
async fn write_past(cluster: &Cluster, paused: usize, value: &str) {
    let others = cluster.running().into_iter().filter(|number| *number != paused);
    let addrs: Vec<String> = others.map(|number| cluster.nodes[number].rpc_addr.clone()).collect();
    let options = Options {
        timeout: Duration::from_secs(1),
        try_timeout: Duration::from_millis(300),
        ..Options::default()
    };
    poll::until("a write without the paused leader", READY_LIMIT, async || {
        // Each time a client that does not know the leader: it would wait for the paused one.
        let client = Client::new(addrs.clone(), options.clone())?;
        client.set("key", value.to_owned()).await
    })
    .await;
}
