//! How the server stops.

use super::super::Limits;
use super::super::proto::api;
use super::super::proto::grpc::health::v1::HealthCheckRequest;
use super::backend::{HELD, HELD_CALLS};
use super::client::{Client, framed, get_request};
use super::{Server, eventually, run};

const UNAVAILABLE: u16 = 14;

#[test]
fn a_stop_lets_open_calls_finish_and_ends_those_that_never_would() {
    let Server { addr, stop, executor } = Server::start(Limits::default());
    run(async move {
        let client = Client::connect(addr).await;
        let mut watch = client.open("/grpc.health.v1.Health/Watch", &[]).await;
        let request = HealthCheckRequest { service: String::new() };
        watch.body.send_data(framed(&request), true).unwrap();
        let (_, _, mut watched) = watch.messages().await;
        assert!(watched.next().await.is_some());

        let mut unfinished = client.open("/api.KV/Set", &[]).await;
        let request = framed(&api::SetRequest { key: "key".into(), value: "value".into() });
        unfinished.body.send_data(request.slice(..6), false).unwrap();
        // Its beginning is at the server once a later call on the same connection is answered.
        client.get("key").await;

        drop(stop);
        assert_eq!((watched.next().await, watched.grpc_status().await), (None, UNAVAILABLE));
        let written: api::SetResponse = unfinished.finish(request.slice(6..)).await.only();
        assert!(written.ok);
    });
    executor.join().unwrap();
}

#[test]
fn a_call_that_outlasts_the_drain_is_cut_off() {
    let limits = Limits { drain_ms: 50, ..Limits::default() };
    let Server { addr, stop, executor } = Server::start(limits);
    run(async move {
        let client = Client::connect(addr).await;
        let mut held = client.open("/api.KV/Get", &[]).await;
        held.body.send_data(framed(&get_request(HELD)), true).unwrap();
        eventually(&client, HELD_CALLS, 1).await;
        drop(stop);
        assert!(held.response.await.is_err(), "the connection was closed under the call");
    });
    executor.join().unwrap();
}
