//! `mokv check` speaks for each endpoint, not for the cluster behind it.

use std::process::Output;

use mokv_client::Error;
use tokio::process::Command;

use crate::binary::mokv;
use crate::cluster::Cluster;

/// The exit code for a member that does not serve.
const UNAVAILABLE: i32 = 4;

#[tokio::test]
async fn every_member_is_written_to_and_read_from_and_the_key_is_gone_afterwards() {
    let cluster = Cluster::start(3).await;
    let output = check(&cluster).await;
    let (answer, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    let endpoints: Vec<&str> =
        answer.lines().map(|line| line.split('\t').next().expect("it has a field")).collect();
    let addrs: Vec<&str> = cluster.nodes.iter().map(|node| node.rpc_addr.as_str()).collect();
    assert_eq!(endpoints, addrs);
    assert_eq!(cluster.client().get("mokv-check").await, Err(Error::NotFound));
}

#[tokio::test]
async fn a_member_that_does_not_serve_is_named_though_the_others_do() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    let output = check(&cluster).await;
    let (_, errors) = texts(&output);
    assert_eq!(output.status.code(), Some(UNAVAILABLE), "{errors}");
    assert!(errors.contains(&cluster.nodes[follower].rpc_addr), "{errors}");
    cluster.client().set("k", "v").await.expect("the others serve");
}

async fn check(cluster: &Cluster) -> Output {
    let endpoints: Vec<&str> = cluster.nodes.iter().map(|node| node.rpc_addr.as_str()).collect();
    let mut command = Command::new(mokv());
    command.args(["check", "--output=plain", "--timeout=2s", "--endpoints", &endpoints.join(",")]);
    command.output().await.expect("mokv can be started")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
