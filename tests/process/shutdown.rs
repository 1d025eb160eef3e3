//! SIGTERM is a request to stop well: leadership goes to another voter, clients are let finish.

use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::cluster::{Cluster, STOP_LIMIT};
use crate::grpc;
use crate::poll;
use crate::workload::{Ledger, Writers, verify};

/// Far below the ten seconds that a draining server gives its clients.
const AT_ONCE: Duration = Duration::from_secs(2);
/// An election that nobody called for takes longer than this.
const HANDED_OVER_LIMIT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_stopping_leader_hands_over_and_exits_with_zero() {
    let mut cluster = Cluster::start(3).await;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let writers = Writers::start(&ledger, &cluster.client(), "stop", 16);
    writers.wait_for_acks(300).await;
    let leader = cluster.leader().await;

    let mut process = cluster.take_process(leader);
    let moment = Instant::now();
    process.signal(Signal::TERM);
    let resumed = writers.time_to_resume(moment).await;
    let status = poll::until_exit(&mut process, STOP_LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", process.output());
    println!("a write that began after SIGTERM was acknowledged after {resumed:?}");
    assert!(resumed < HANDED_OVER_LIMIT, "leadership was lost, not handed over: {resumed:?}");

    cluster.start_node(leader);
    cluster.wait_until_ready().await;
    writers.wait_for_acks(300).await;
    writers.stop().await;
    verify(&ledger, &cluster).await;
}

#[tokio::test]
async fn a_cluster_of_one_stops_with_zero_and_keeps_its_data() {
    let mut cluster = Cluster::start(1).await;
    cluster.client().set("kept", "value").await.expect("it takes a write");
    let mut process = cluster.take_process(0);
    process.signal(Signal::TERM);
    let status = poll::until_exit(&mut process, STOP_LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", process.output());
    cluster.start_node(0);
    cluster.wait_until_ready().await;
    let read = cluster.client().get("kept").await.expect("it is there");
    assert_eq!(read.value, "value");
}

#[tokio::test]
async fn the_second_signal_ends_a_server_that_waits_for_its_clients() {
    let mut cluster = Cluster::start(1).await;
    let client = cluster.client();
    for number in 0..32 {
        client.set(format!("key-{number}"), vec![b'v'; 1 << 20]).await.expect("it takes a write");
    }
    // A list that nobody reads: the server has to wait for this client.
    let stalled = stalled_list(&cluster.nodes[0].rpc_addr).await;
    let mut process = cluster.take_process(0);
    process.signal(Signal::TERM);
    poll::until("it begins to drain", STOP_LIMIT, async || {
        poll::ensure(process.output().contains("draining"), process.output())
    })
    .await;
    assert!(process.exit_status().is_none(), "it did not wait for its client");
    process.signal(Signal::TERM);
    let status = poll::until_exit(&mut process, AT_ONCE).await;
    assert_ne!(status.code(), Some(0), "a drain that was cut short is no success");
    assert!(status.code().is_some() || status.signal() == Some(Signal::TERM.as_raw()));
    drop(stalled);
}

/// A connection on which a list was asked for and its first window is never released.
async fn stalled_list(addr: &str) -> (h2::RecvStream, tokio::task::JoinHandle<()>) {
    let socket = TcpStream::connect(addr).await.expect("the server listens");
    let (sender, connection) = h2::client::handshake(socket).await.expect("it speaks HTTP/2");
    let driver = tokio::spawn(async move {
        // The server ends the connection in its own way; that is not what is tested.
        let _ = connection.await;
    });
    let request = Request::post(format!("http://{addr}/api.KV/List"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("the request is well formed");
    let mut sender: h2::client::SendRequest<Bytes> =
        sender.ready().await.expect("it takes streams");
    let (response, mut body) = sender.send_request(request, false).expect("it takes a stream");
    body.send_data(grpc::framed(&[]), true).expect("the stream is open");
    let mut stream = response.await.expect("the list begins").into_body();
    let first = stream.data().await.expect("the list has data");
    assert!(!first.expect("the list has data").is_empty());
    (stream, driver)
}
