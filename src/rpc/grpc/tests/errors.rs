//! Calls that fail, and what their clients are told.

use bytes::Bytes;
use http::Request;

use super::super::proto::api;
use super::super::{MAX_CONCURRENT_STREAMS, MAX_MESSAGE_BYTES};
use super::backend::{FORGOTTEN, HELD, HELD_CALLS, RELEASE};
use super::client::{Client, framed, get_request};
use super::{eventually, with_limits, with_server};
use crate::rpc::grpc::Limits;

const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const NOT_FOUND: u16 = 5;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;

#[test]
fn a_failure_is_one_header_frame_with_a_status_for_people_and_programs() {
    with_server(|addr| async move {
        let answer = Client::connect(addr).await.get("missing").await;
        assert_eq!((answer.http_status, answer.grpc_status()), (200, NOT_FOUND));
        assert_eq!(answer.grpc_message(), "the key has no value");
        assert!(answer.messages.is_empty());
        assert!(answer.headers.contains_key("grpc-status-details-bin"));
    });
}

#[test]
fn a_method_that_does_not_exist_is_unimplemented_and_named() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        for path in ["/api.KV/Watch", "/nobody.Knows/This", "/"] {
            let answer = client.call(path, &()).await;
            assert_eq!(answer.grpc_status(), UNIMPLEMENTED);
            assert!(answer.grpc_message().ends_with(path));
        }
    });
}

#[test]
fn a_compressed_request_is_told_which_encodings_there_are() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let call = client.open("/api.KV/Get", &[("grpc-encoding", "zstd")]).await;
        let answer = call.finish(framed(&get_request("key"))).await;
        assert_eq!(answer.grpc_status(), UNIMPLEMENTED);
        assert!(answer.grpc_message().contains("zstd"));
        assert_eq!(answer.headers["grpc-accept-encoding"], "identity");
    });
}

#[test]
fn what_is_not_grpc_is_told_so_in_http() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let get = Request::get("http://server/api.KV/Get").body(()).unwrap();
        let answer = client.send(get).await.finish(Bytes::new()).await;
        assert_eq!((answer.http_status, answer.headers["allow"].to_str().unwrap()), (405, "POST"));
        let json = Request::post("http://server/api.KV/Get")
            .header("content-type", "application/json")
            .body(())
            .unwrap();
        assert_eq!(client.send(json).await.finish(Bytes::new()).await.http_status, 415);
    });
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_is_sent() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let mut call = client.open("/api.KV/Set", &[]).await;
        let mut prefix = vec![0];
        prefix.extend((MAX_MESSAGE_BYTES as u32 + 1).to_be_bytes());
        call.body.send_data(prefix.into(), false).unwrap();
        assert_eq!(call.answer().await.grpc_status(), RESOURCE_EXHAUSTED);
    });
}

#[test]
fn a_unary_call_takes_exactly_one_whole_message() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let one = framed(&get_request("key"));
        let bodies = [Bytes::new(), [one.clone(), one.clone()].concat().into(), one.slice(..7)];
        for body in bodies {
            let answer = client.open("/api.KV/Get", &[]).await.finish(body).await;
            assert_eq!(answer.grpc_status(), INTERNAL, "{}", answer.grpc_message());
        }
        let malformed = Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff]);
        let answer = client.open("/api.KV/Get", &[]).await.finish(malformed).await;
        assert_eq!(answer.grpc_status(), INVALID_ARGUMENT);
    });
}

#[test]
fn a_deadline_ends_a_call_and_the_late_answer_disturbs_nothing() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let late_get = client.open("/api.KV/Get", &[("grpc-timeout", "20m")]).await;
        let answer = late_get.finish(framed(&get_request(HELD))).await;
        assert_eq!(answer.grpc_status(), DEADLINE_EXCEEDED);
        assert!(answer.grpc_message().contains("nothing was changed"));

        let late_set = client.open("/api.KV/Set", &[("grpc-timeout", "20000u")]).await;
        let request = api::SetRequest { key: HELD.to_owned(), value: Bytes::new() };
        let answer = late_set.finish(framed(&request)).await;
        assert_eq!(answer.grpc_status(), DEADLINE_EXCEEDED);
        assert!(answer.grpc_message().contains("may or may not"));

        let unfinished = client.open("/api.KV/Set", &[("grpc-timeout", "20m")]).await;
        let answer = unfinished.answer().await;
        assert_eq!(answer.grpc_status(), DEADLINE_EXCEEDED);
        assert!(answer.grpc_message().contains("nothing was changed"));

        assert_eq!(client.set(RELEASE, "").await.grpc_status(), 0);
        assert_eq!(client.counter(HELD_CALLS).await, 0);
    });
}

#[test]
fn a_deadline_in_the_past_is_not_waited_for() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let call = client.open("/api.KV/Get", &[("grpc-timeout", "0n")]).await;
        assert_eq!(call.finish(framed(&get_request(HELD))).await.grpc_status(), DEADLINE_EXCEEDED);
    });
}

#[test]
fn an_answer_that_the_store_forgot_is_reported_as_lost() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let answer = client.set(FORGOTTEN, "value").await;
        assert_eq!(answer.grpc_status(), INTERNAL);
        assert!(answer.grpc_message().contains("may or may not"));
    });
}

#[test]
fn cancelled_calls_count_until_the_store_is_done_with_them() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let round = u64::from(MAX_CONCURRENT_STREAMS) / 2;
        for rounds in 1..=4 {
            let mut calls = Vec::new();
            for _ in 0..round {
                let mut call = client.open("/api.KV/Get", &[]).await;
                call.body.send_data(framed(&get_request(HELD)), true).unwrap();
                calls.push(call);
            }
            // Seen from a second connection, which the limit of the first does not touch.
            eventually(&Client::connect(addr).await, HELD_CALLS, rounds * round).await;
            for call in &mut calls {
                call.body.send_reset(h2::Reason::CANCEL);
            }
        }
        let refused = client.get("key").await;
        assert_eq!(refused.grpc_status(), RESOURCE_EXHAUSTED, "{}", refused.grpc_message());
        Client::connect(addr).await.set(RELEASE, "").await;
        assert_eq!(client.get("key").await.grpc_status(), NOT_FOUND);
    });
}

#[test]
fn unfinished_messages_are_kept_within_a_budget() {
    let limits = Limits { max_receiving_bytes: 100 << 10, ..Limits::default() };
    with_limits(limits, |addr| async move {
        let client = Client::connect(addr).await;
        let message = framed(&api::SetRequest { key: "k".into(), value: vec![0; 60 << 10].into() });
        let mut first = client.open("/api.KV/Set", &[]).await;
        first.body.send_data(message.slice(..message.len() - 1), false).unwrap();
        let mut second = client.open("/api.KV/Set", &[]).await;
        second.body.send_data(message.slice(..message.len() - 1), false).unwrap();
        let refused = second.answer().await;
        assert_eq!(refused.grpc_status(), RESOURCE_EXHAUSTED);
        // The first one is not disturbed, and gives its share back.
        let first = first.finish(message.slice(message.len() - 1..)).await;
        assert_eq!(first.grpc_status(), 0);
        let again = client.set("k", vec![0; 60 << 10]).await;
        assert_eq!(again.grpc_status(), 0);
    });
}
