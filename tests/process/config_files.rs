//! The config files of the Go program, unchanged, make one cluster and never two.

use std::fs;

use bytes::Bytes;

use crate::cluster::Cluster;
use crate::poll::{self, ensure};
use crate::wire::{self, GetRequest, GetResponse, SetRequest};

#[tokio::test]
async fn three_files_make_one_cluster_that_serves_every_call_everywhere() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for writer in 0..3 {
        let value = Bytes::from(format!("through node-{writer}"));
        let set = SetRequest { key: "greeting".into(), value: value.clone() };
        let answer = wire::call(&cluster.nodes[writer].rpc_addr, "/api.KV/Set", &set).await;
        assert_eq!(answer.expect("the member answers").status, Some(0));
        for reader in 0..3 {
            assert_eq!(read(&cluster, reader).await, value, "{writer} wrote, {reader} reads");
        }
        let servers = cluster.servers_of(&cluster.nodes[writer].rpc_addr).await.expect("answers");
        let leaders: Vec<_> = servers.iter().filter(|server| server.is_leader).collect();
        assert_eq!(leaders.len(), 1);
        assert_eq!(leaders[0].id, cluster.nodes[leader].name);
        assert_eq!(leaders[0].rpc_addr, cluster.nodes[leader].rpc_addr);
    }
}

#[tokio::test]
async fn join_addresses_may_be_one_string() {
    let mut cluster = Cluster::start(1).await;
    let second = cluster.add_node();
    let config = fs::read_to_string(&cluster.nodes[second].config).expect("it was written");
    let one_line = config.replace("start-join-addrs:\n  - ", "start-join-addrs: ");
    assert_ne!(one_line, config);
    fs::write(&cluster.nodes[second].config, one_line).expect("it can be written");
    cluster.start_node(second);
    cluster.wait_for_voters(&[0, 1]).await;
}

#[tokio::test]
async fn a_bootstrapping_member_whose_seeds_know_a_cluster_joins_it() {
    let mut cluster = Cluster::start(1).await;
    let second = cluster.add_node();
    let path = cluster.nodes[second].config.clone();
    let config = fs::read_to_string(&path).expect("it was written") + "bootstrap: true\n";
    fs::write(&path, config).expect("it can be written");
    cluster.start_node(second);
    cluster.wait_for_voters(&[0, 1]).await;
    let (first, second) = (cluster.status(0).await, cluster.status(second).await);
    assert_eq!(first.expect("it answers").cluster_id, second.expect("it answers").cluster_id);
}

#[tokio::test]
async fn the_first_member_may_lose_its_disk_without_making_a_second_cluster() {
    let mut cluster = Cluster::start(3).await;
    let cluster_id = cluster.status(1).await.expect("it answers").cluster_id;
    // The others know the first one's address; as in a StatefulSet, it knows theirs too.
    let path = cluster.nodes[0].config.clone();
    let mut config = fs::read_to_string(&path).expect("it was written");
    config.push_str(&format!("start-join-addrs: {}\n", cluster.nodes[1].gossip_addr));
    fs::write(&path, config).expect("it can be written");
    cluster.kill(0);
    fs::remove_dir_all(&cluster.nodes[0].data_dir).expect("it has a data directory");
    cluster.start_node(0);
    cluster.wait_for_voters(&[0, 1, 2]).await;
    poll::until("it belongs to the old cluster", crate::cluster::READY_LIMIT, async || {
        let status = cluster.status(0).await.map_err(|error| error.to_string())?;
        ensure(status.cluster_id == cluster_id, status.cluster_id)
    })
    .await;
}

async fn read(cluster: &Cluster, number: usize) -> Bytes {
    let request = GetRequest { key: "greeting".into() };
    let answer = wire::call(&cluster.nodes[number].rpc_addr, "/api.KV/Get", &request).await;
    wire::decode::<GetResponse>(&answer.expect("the member answers")).value
}
