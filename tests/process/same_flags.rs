//! Servers that are all told the same, as the pods of a StatefulSet are: they make one cluster, and
//! the dead are removed and come back as new servers.

use std::fs;

use crate::cluster::{Cluster, READY_LIMIT, STOP_LIMIT};
use crate::poll::{self, ensure};

#[tokio::test]
async fn servers_that_expect_each_other_make_one_cluster_once_the_last_is_there() {
    let mut cluster = told_the_same(3, "bootstrap-expect: 3\n");
    for number in [0, 1] {
        cluster.start_node(number);
    }
    for number in [0, 1] {
        let log = || cluster.nodes[number].output();
        poll::until("they have met", READY_LIMIT, async || {
            let other = format!("name=\"node-{}\"", 1 - number);
            ensure(log().contains(&other), log())
        })
        .await;
        let status = cluster.status(number).await.expect("it answers");
        assert_eq!(status.cluster_id, "", "two of three make no cluster");
    }
    cluster.start_node(2);
    cluster.wait_until_ready().await;
    cluster.wait_for_voters(&[0, 1, 2]).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(cluster.status(number).await.expect("it answers").cluster_id);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn a_server_that_was_removed_while_it_was_dead_comes_back_as_a_new_one() {
    let mut cluster =
        told_the_same(3, "bootstrap-expect: 3\nmin-voters: 2\ndead-server-timeout-ms: 1000\n");
    for number in 0..3 {
        cluster.start_node(number);
    }
    cluster.wait_until_ready().await;
    let dead = (cluster.leader().await + 1) % 3;
    let old_id = cluster.status(dead).await.expect("it answers").node_id;
    cluster.kill(dead);
    cluster.wait_for_voters(&cluster.running()).await;

    cluster.start_node(dead);
    let mut process = cluster.take_process(dead);
    let status = poll::until_exit(&mut process, STOP_LIMIT).await;
    assert!(status.success(), "{status}: {}", process.output());
    let archive = cluster.nodes[dead].data_dir.join(format!("left-{old_id}"));
    assert!(archive.join("identity").exists(), "its data is set aside");

    cluster.start_node(dead);
    cluster.wait_until_ready().await;
    cluster.wait_for_voters(&[0, 1, 2]).await;
    assert_ne!(cluster.status(dead).await.expect("it answers").node_id, old_id);
}

#[tokio::test]
async fn listeners_may_bind_another_address_than_the_one_to_dial() {
    let mut cluster = told_the_same(2, "bootstrap-expect: 2\nlisten-ip: 0.0.0.0\n");
    for number in [0, 1] {
        // Both are dialed at addresses that neither is told to bind.
        let path = &cluster.nodes[number].config;
        let config = fs::read_to_string(path).expect("it was written");
        fs::write(path, config.replace("127.0.0.1", "127.0.0.2")).expect("it can be written");
        cluster.start_node(number);
    }
    cluster.wait_until_ready().await;
    cluster.wait_for_voters(&[0, 1]).await;
    let servers = cluster.servers_of(&cluster.nodes[0].rpc_addr).await.expect("it answers");
    assert!(servers.iter().all(|server| server.rpc_addr.starts_with("127.0.0.2:")), "{servers:?}");
}

/// Members that do not run, each with the others and itself to join, and `more` options.
fn told_the_same(size: usize, more: &str) -> Cluster {
    let mut cluster = Cluster::empty();
    for _ in 0..size {
        cluster.add_node();
    }
    let seeds: String =
        cluster.nodes.iter().map(|node| format!("  - {}\n", node.gossip_addr)).collect();
    for node in &cluster.nodes {
        let config = fs::read_to_string(&node.config).expect("it was written");
        let own = config.split("bootstrap:").next().expect("there is a first part");
        let own = own.split("start-join-addrs:").next().expect("there is a first part");
        let config = format!("{own}start-join-addrs:\n{seeds}{more}");
        fs::write(&node.config, config).expect("it can be written");
    }
    cluster
}
