//! Garbage, half-open connections and calls over the limits: a clear answer, and the server serves on.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::grpc::{self, Answer, Call};
use crate::wire::{self, GetRequest, SetRequest};

const MAX_KEY_BYTES: usize = 4 << 10;
const MAX_VALUE_BYTES: usize = 1 << 20;
/// The time in which a connection that sent garbage and ended is closed by the server.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// Half-open connections on each port at a time.
const HALF_OPEN: usize = 100;

const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;

#[tokio::test]
async fn garbage_on_every_port_disturbs_nobody() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        for garbage in garbage() {
            send_tcp(&node.rpc_addr, &garbage).await;
            send_tcp(&node.gossip_addr, &garbage).await;
            let mut socket = TcpStream::connect(&node.metrics_addr).await.expect("it is open");
            let _ = socket.write_all(&garbage).await;
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        for garbage in garbage() {
            let packet = &garbage[..garbage.len().min(1400)];
            socket.send_to(packet, &node.gossip_addr).expect("a packet can be sent");
        }
    }
    serves_on(cluster).await;
}

#[tokio::test]
async fn half_open_connections_on_every_port_disturb_nobody() {
    let cluster = Cluster::start(3).await;
    let mut open = Vec::new();
    for node in &cluster.nodes {
        for addr in [&node.rpc_addr, &node.gossip_addr, &node.metrics_addr] {
            for _ in 0..HALF_OPEN {
                open.push(TcpStream::connect(addr).await.expect("the port is open"));
            }
        }
    }
    serves_on(cluster).await;
    drop(open);
}

#[tokio::test]
async fn calls_over_the_limits_are_refused_and_those_at_the_limits_are_not() {
    let cluster = Cluster::start(1).await;
    let addr = &cluster.nodes[0].rpc_addr;
    let set = async |key: String, value_bytes: usize| {
        let message = SetRequest { key, value: vec![b'v'; value_bytes].into() };
        wire::call(addr, "/api.KV/Set", &message).await.expect("the server answers")
    };
    refused(&set(String::new(), 1).await, INVALID_ARGUMENT, "key");
    refused(&set("k".repeat(MAX_KEY_BYTES + 1), 1).await, INVALID_ARGUMENT, "4096");
    refused(&set("k".to_owned(), MAX_VALUE_BYTES + 1).await, INVALID_ARGUMENT, "1048576");
    refused(&set("k".to_owned(), 16 << 20).await, RESOURCE_EXHAUSTED, "");
    let whole = set("k".repeat(MAX_KEY_BYTES), MAX_VALUE_BYTES).await;
    assert_eq!(whole.status, Some(OK), "{}", whole.message);
    serves_on(cluster).await;
}

#[tokio::test]
async fn a_message_that_claims_gigabytes_is_refused_before_it_comes() {
    let cluster = Cluster::start(1).await;
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::MAX);
    body.put_slice(b"and then little");
    let answer = call(&cluster, "/api.KV/Set", &[], body.freeze()).await;
    refused(&answer, RESOURCE_EXHAUSTED, "");
    serves_on(cluster).await;
}

#[tokio::test]
async fn an_encoding_that_is_not_supported_is_named() {
    let cluster = Cluster::start(1).await;
    let mut body = BytesMut::from(&grpc::framed(b"not really snappy")[..]);
    body[0] = 1;
    let headers = &[("grpc-encoding", "snappy")];
    let answer = call(&cluster, "/api.KV/Set", headers, body.freeze()).await;
    refused(&answer, UNIMPLEMENTED, "snappy");
    serves_on(cluster).await;
}

#[tokio::test]
async fn what_is_no_call_of_the_service_is_refused() {
    let cluster = Cluster::start(1).await;
    let get = grpc::framed(&GetRequest { key: "missing".to_owned() }.encode_to_vec());
    refused(&call(&cluster, "/api.KV/Get", &[], get.clone()).await, NOT_FOUND, "");
    refused(&call(&cluster, "/api.KV/Rename", &[], get.clone()).await, UNIMPLEMENTED, "");
    refused(&call(&cluster, "/api.Nothing/Get", &[], get.clone()).await, UNIMPLEMENTED, "");
    let garbage = grpc::framed(&[0x0a, 0xff, 0xff, 0xff, 0xff]);
    refused(&call(&cluster, "/api.KV/Get", &[], garbage).await, INVALID_ARGUMENT, "");
    for body in [Bytes::new(), get.slice(..3), [get.clone(), get].concat().into()] {
        let answer = call(&cluster, "/api.KV/Get", &[], body).await;
        assert!(answer.status.is_some_and(|status| status != OK), "{answer:?}");
    }
    serves_on(cluster).await;
}

/// The members run, agree and take writes and reads.
async fn serves_on(mut cluster: Cluster) {
    cluster.wait_until_ready().await;
    for number in cluster.running() {
        assert!(cluster.is_running(number), "node-{number} ended");
        assert!(!cluster.nodes[number].output().contains("panicked"));
        let addr = &cluster.nodes[number].rpc_addr;
        let set = SetRequest { key: "still".to_owned(), value: "here".into() };
        let answer = wire::call(addr, "/api.KV/Set", &set).await.expect("it answers");
        assert_eq!(answer.status, Some(OK), "{}", answer.message);
        let metrics = http_get(&cluster.nodes[number].metrics_addr, "/metrics").await;
        assert!(metrics.contains("mokv_build_info"), "{metrics}");
    }
}

async fn http_get(addr: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(addr).await.expect("the port is open");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    let read = timeout(CLOSE_LIMIT, socket.read_to_string(&mut answer)).await;
    read.expect("the server answers in time").expect("the answer is text");
    answer
}

async fn call(
    cluster: &Cluster,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Answer {
    let addr = &cluster.nodes[0].rpc_addr;
    grpc::call(addr, &Call { path, headers, body }).await.expect("the server answers")
}

fn refused(answer: &Answer, status: u32, says: &str) {
    assert_eq!(answer.status, Some(status), "{}", answer.message);
    assert!(!answer.message.is_empty(), "a refusal says why");
    assert!(answer.message.contains(says), "`{says}` is not in: {}", answer.message);
}

/// Beginnings of other protocols, of our own, and of none.
fn garbage() -> Vec<Vec<u8>> {
    let mut prng = mokv::prng::Prng::new(1);
    let noise = (0..8 << 10).flat_map(|_| prng.next_u64().to_le_bytes()).collect();
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend([0xff; 64]);
    vec![
        b"\x01".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        preface,
        noise,
    ]
}

/// Sends bytes and the end of the stream, and waits until the server closes its end too.
async fn send_tcp(addr: &str, bytes: &[u8]) {
    let mut socket = TcpStream::connect(addr).await.expect("the port is open");
    let closed = timeout(CLOSE_LIMIT, async {
        // Each may fail: a server that closes in the middle of garbage is right.
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let _ = socket.read_to_end(&mut Vec::new()).await;
    });
    let start = &bytes[..bytes.len().min(16)];
    closed.await.unwrap_or_else(|_| panic!("{addr} keeps a connection that sent {start:x?}..."));
}
