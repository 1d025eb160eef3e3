//! The log of a server that says all it can: one line an event, and never what clients store.

use std::fs;

use crate::cluster::{Cluster, READY_LIMIT};
use crate::poll;
use crate::wire::{self, GetRequest, SetRequest};

const KEY: &str = "a-key-that-is-nobodys-business";
const VALUE: &str = "a-value\nthat-is-nobodys-business";
const MAX_VALUE_BYTES: usize = 1 << 20;

/// The members write JSON, or text, with everything that `trace` has.
async fn talkative_cluster(format: &str) -> Cluster {
    let mut cluster = Cluster::empty();
    for _ in 0..3 {
        let node = cluster.add_node();
        let path = cluster.nodes[node].config.clone();
        let config = fs::read_to_string(&path).expect("it was written");
        fs::write(&path, format!("{config}log-level: trace\nlog-format: {format}\n"))
            .expect("it can be written");
        cluster.start_node(node);
    }
    cluster.wait_until_ready().await;
    cluster.wait_for_voters(&[0, 1, 2]).await;
    cluster
}

/// Everything that clients can do with a key and a value, through every member, well and badly; and
/// a restart, which reads them back.
async fn handle_secrets(cluster: &mut Cluster) {
    for node in &cluster.nodes {
        let too_large = VALUE.repeat(MAX_VALUE_BYTES / VALUE.len() + 1);
        for value in [VALUE.to_owned(), too_large] {
            let set = SetRequest { key: KEY.into(), value: value.into() };
            wire::call(&node.rpc_addr, "/api.KV/Set", &set).await.expect("it answers");
        }
        let get = GetRequest { key: KEY.into() };
        wire::call(&node.rpc_addr, "/api.KV/Get", &get).await.expect("it answers");
        // Two fields of the wrong types: it does not decode.
        let set = SetRequest { key: KEY.into(), value: VALUE.into() };
        wire::call(&node.rpc_addr, "/api.KV/TransferLeadership", &set).await.expect("it answers");
        wire::list(&node.rpc_addr).await.expect("the keys are listed");
    }
    cluster.kill(1);
    cluster.start_node(1);
    cluster.wait_until_ready().await;
    poll::until("the key is read back", READY_LIMIT, async || {
        let items = wire::list(&cluster.nodes[1].rpc_addr).await?;
        poll::ensure(items.contains_key(KEY), format!("{} keys", items.len()))
    })
    .await;
    let delete = GetRequest { key: KEY.into() };
    wire::call(&cluster.nodes[1].rpc_addr, "/api.KV/Delete", &delete).await.expect("it answers");
}

/// As text, and as the numbers of its bytes, which is how a `Vec<u8>` is printed.
fn disguises(secret: &str) -> [String; 2] {
    let start = &secret[..7];
    let numbers = format!("{:?}", start.as_bytes());
    [start.to_owned(), numbers.trim_matches(['[', ']']).to_owned()]
}

fn assert_no_secret(cluster: &Cluster) {
    for node in &cluster.nodes {
        let output = node.output();
        assert!(output.contains("TRACE"), "{} logs at trace level", node.name);
        for disguise in [disguises(KEY), disguises(VALUE)].concat() {
            let told = output.lines().find(|line| line.contains(&disguise));
            assert_eq!(told, None, "{} tells {disguise:?}", node.name);
        }
    }
}

#[tokio::test]
async fn no_line_of_text_tells_a_key_or_a_value_even_at_trace_level() {
    let mut cluster = talkative_cluster("text").await;
    handle_secrets(&mut cluster).await;
    assert_no_secret(&cluster);
}

#[tokio::test]
async fn each_event_is_one_line_of_json_without_a_key_or_a_value() {
    let mut cluster = talkative_cluster("json").await;
    handle_secrets(&mut cluster).await;
    assert_no_secret(&cluster);
    for node in &cluster.nodes {
        for line in node.output().lines() {
            let event: serde_json::Value = serde_json::from_str(line).expect(line);
            for field in ["timestamp", "level", "target"] {
                assert!(event.get(field).is_some(), "no {field} in {line}");
            }
        }
    }
}
