//! What keeps a server from starting is named, with what to do, and nothing else is disturbed.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::binary::mokv;
use crate::cluster::Cluster;
use crate::poll::{self, ensure};

/// The time in which a server that cannot start has said so.
const REFUSAL_LIMIT: Duration = Duration::from_secs(10);
/// The exit code for a command line or config file that makes no sense.
const USAGE: i32 = 2;

#[tokio::test]
async fn an_unknown_flag_is_named() {
    let error = refused(Command::new(mokv()).args(["serve", "--no-such-flag"]), Some(USAGE)).await;
    assert!(error.contains("--no-such-flag"), "{error}");
}

#[tokio::test]
async fn an_unknown_key_of_the_config_file_is_named_with_the_file() {
    let mut cluster = Cluster::empty();
    let node = cluster.add_node();
    let path = &cluster.nodes[node].config;
    let config = fs::read_to_string(path).expect("it was written");
    fs::write(path, config.replace("rpc-port", "rcp-port")).expect("it can be written");
    let error = start_refused(&cluster, node, Some(USAGE)).await;
    assert!(error.contains("rcp-port"), "{error}");
    assert!(error.contains("rpc-port"), "the key that was meant is proposed: {error}");
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
}

#[tokio::test]
async fn a_missing_config_file_is_named() {
    let mut command = Command::new(mokv());
    command.arg("--config-file=no/such/file.yaml");
    let error = refused(&mut command, Some(USAGE)).await;
    assert!(error.contains("no/such/file.yaml"), "{error}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let mut cluster = Cluster::empty();
    let node = cluster.add_node();
    let addrs = {
        let node = &cluster.nodes[node];
        [node.rpc_addr.clone(), node.gossip_addr.clone(), node.metrics_addr.clone()]
    };
    for addr in &addrs {
        let held = TcpListener::bind(addr).expect("the port was free");
        let error = start_refused(&cluster, node, None).await;
        let port = addr.rsplit_once(':').expect("it has a port").1;
        assert!(error.contains(port) && error.contains("in use"), "{addr}: {error}");
        drop(held);
    }
    let held = UdpSocket::bind(&addrs[1]).expect("the port was free");
    let error = start_refused(&cluster, node, None).await;
    assert!(error.contains("in use"), "{error}");
    drop(held);
    cluster.start_node(node);
    cluster.wait_until_ready().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_directory_is_refused_and_the_first_serves_on() {
    let mut cluster = Cluster::start(1).await;
    let second = cluster.add_node();
    let path = &cluster.nodes[second].config;
    let config = fs::read_to_string(path).expect("it was written");
    let (own, other) = (&cluster.nodes[second].data_dir, &cluster.nodes[0].data_dir);
    let config = config.replace(&*own.to_string_lossy(), &other.to_string_lossy());
    fs::write(path, config).expect("it can be written");
    let error = start_refused(&cluster, second, None).await;
    assert!(error.contains(&*other.to_string_lossy()), "{error}");
    cluster.client().set("still", "here").await.expect("the first one serves on");
}

#[tokio::test]
async fn too_little_locked_memory_is_named() {
    let mut cluster = Cluster::empty();
    let node = cluster.add_node();
    let config = cluster.nodes[node].config.display().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 64 && exec \"$0\" \"--config-file=$1\""]);
    command.args([mokv(), config.into()]);
    let error = refused(&mut command, None).await;
    assert!(error.contains("memlock") && error.contains("64 KiB"), "{error}");
}

#[tokio::test]
async fn data_of_another_cluster_is_refused_and_both_clusters_serve_on() {
    let mut cluster = Cluster::start(1).await;
    // A second cluster in the same directory: a member that bootstraps and knows of nobody.
    let stranger = cluster.add_node();
    let path = cluster.nodes[stranger].config.clone();
    let joining = fs::read_to_string(&path).expect("it was written");
    let seeds = joining.find("start-join-addrs").expect("it has seeds");
    fs::write(&path, format!("{}bootstrap: true\n", &joining[..seeds])).expect("it can be written");
    cluster.start_node(stranger);
    cluster.wait_until_ready().await;
    let ids = [cluster.status(0).await, cluster.status(stranger).await];
    let ids = ids.map(|status| status.expect("a ready member answers").cluster_id);
    assert_ne!(ids[0], ids[1]);

    // Now it is told to join the first, with the data of its own.
    cluster.kill(stranger);
    fs::write(&path, joining).expect("it can be written");
    cluster.start_node(stranger);
    poll::until("the log names both clusters", REFUSAL_LIMIT, async || {
        let output = cluster.nodes[stranger].output();
        ensure(ids.iter().all(|id| output.contains(id)), output)
    })
    .await;
    let servers = cluster.servers_of(&cluster.nodes[0].rpc_addr).await.expect("it serves on");
    assert_eq!(servers.len(), 1, "the stranger became a member: {servers:?}");
    cluster.client().set("still", "here").await.expect("the first one serves on");
}

/// Starts a member that must refuse to start, and returns what it says.
async fn start_refused(cluster: &Cluster, number: usize, code: Option<i32>) -> String {
    let mut command = Command::new(mokv());
    command.arg(format!("--config-file={}", cluster.nodes[number].config.display()));
    refused(&mut command, code).await
}

/// Runs a command that must fail in time, with `code` or any but zero, and returns its errors.
async fn refused(command: &mut Command, code: Option<i32>) -> String {
    let output = timeout(REFUSAL_LIMIT, command.kill_on_drop(true).output()).await;
    let output = output.expect("a server that cannot start ends").expect("mokv can be started");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started, or ended well: {error}");
    assert!(!error.contains("panicked"), "{error}");
    if code.is_some() {
        assert_eq!(output.status.code(), code, "{error}");
    }
    error
}
