//! Calls that answer with many messages.

use bytes::Bytes;
use prost::Message;

use super::super::proto::api;
use super::super::proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use super::super::proto::grpc::reflection::v1 as reflection;
use super::backend::{BROKEN, CHUNKS_SENT, ENDLESS, HEALTH, LISTS_CANCELLED};
use super::client::{Client, Messages, framed};
use super::{eventually, with_server};
use reflection::server_reflection_request::MessageRequest;
use reflection::server_reflection_response::MessageResponse;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

#[test]
fn a_list_holds_every_key_with_its_value_and_revision() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        for number in 0..300 {
            client.set(&format!("key-{number:03}"), vec![number as u8; number]).await;
        }
        let answer = client.call("/api.KV/List", &()).await;
        assert_eq!((answer.grpc_status(), answer.messages.len()), (0, 300));
        for (number, message) in answer.messages.into_iter().enumerate() {
            let item = api::GetResponse::decode(message).unwrap();
            assert_eq!(item.key, format!("key-{number:03}"));
            assert_eq!(item.value, vec![number as u8; number]);
            assert_eq!(item.revision, number as u64 + 1);
        }
    });
}

#[test]
fn an_empty_list_is_a_success_without_messages() {
    with_server(|addr| async move {
        let answer = Client::connect(addr).await.call("/api.KV/List", &()).await;
        assert_eq!((answer.grpc_status(), answer.messages.len()), (0, 0));
    });
}

#[test]
fn a_client_that_does_not_read_makes_the_producer_wait_and_a_cancel_stops_it() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        client.set(ENDLESS, vec![0; 100 << 10]).await;
        let mut call = client.open("/api.KV/List", &[]).await;
        call.body.send_data(framed(&()), true).unwrap();
        let response = call.response.await.unwrap();
        // The client's window is 64 KiB: no chunk of 100 KiB passes until it reads. One is being
        // sent, and as many wait as the channel holds.
        eventually(&client, CHUNKS_SENT, 3).await;
        for _ in 0..100 {
            assert_eq!(client.counter(CHUNKS_SENT).await, 3);
        }
        drop((call.body, response));
        eventually(&client, LISTS_CANCELLED, 1).await;
    });
}

#[test]
fn a_list_that_breaks_off_says_why_after_the_items_it_had() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        client.set(BROKEN, "value").await;
        let answer = client.call("/api.KV/List", &()).await;
        assert_eq!((answer.grpc_status(), answer.messages.len()), (14, 1));
        assert!(!answer.headers.contains_key("grpc-status"), "the status came with the headers");
    });
}

#[test]
fn a_deadline_ends_a_list() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        client.set(ENDLESS, "value").await;
        let call = client.open("/api.KV/List", &[("grpc-timeout", "50m")]).await;
        assert_eq!(call.finish(framed(&())).await.grpc_status(), 4);
        eventually(&client, LISTS_CANCELLED, 1).await;
    });
}

async fn check(client: &Client, service: &str) -> Result<i32, u16> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = client.call("/grpc.health.v1.Health/Check", &request).await;
    match answer.grpc_status() {
        0 => Ok(answer.only::<HealthCheckResponse>().status),
        code => Err(code),
    }
}

async fn watch(client: &Client, service: &str) -> Messages {
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut call = client.open("/grpc.health.v1.Health/Watch", &[]).await;
    call.body.send_data(framed(&request), true).unwrap();
    call.messages().await.2
}

async fn next_health(watch: &mut Messages) -> i32 {
    HealthCheckResponse::decode(watch.next().await.unwrap()).unwrap().status
}

#[test]
fn a_health_check_tells_the_state_of_each_service() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        for service in ["", "liveness", "readiness", "startup"] {
            assert_eq!(check(&client, service).await, Ok(SERVING), "{service:?}");
        }
        client.set(HEALTH, "down").await;
        assert_eq!(check(&client, "").await, Ok(NOT_SERVING));
        assert_eq!(check(&client, "liveness").await, Ok(SERVING));
        assert_eq!(check(&client, "api.KV").await, Err(5));
    });
}

#[test]
fn a_health_watch_tells_the_state_now_and_each_change() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let mut readiness = watch(&client, "readiness").await;
        assert_eq!(next_health(&mut readiness).await, SERVING);
        for (value, status) in [("down", NOT_SERVING), ("up", SERVING), ("down", NOT_SERVING)] {
            client.set(HEALTH, value).await;
            assert_eq!(next_health(&mut readiness).await, status);
        }
        // A service that does not exist may do so later: the call is not ended.
        assert_eq!(next_health(&mut watch(&client, "nothing").await).await, SERVICE_UNKNOWN);
    });
}

fn reflection_request(request: MessageRequest) -> Bytes {
    framed(&reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request),
    })
}

#[test]
fn reflection_answers_each_request_of_a_stream_in_both_versions() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let mut call = client.open(&path, &[]).await;
            let list = reflection_request(MessageRequest::ListServices("*".to_owned()));
            call.body.send_data(list, false).unwrap();
            let mut body = call.body;
            let (parts, stream) = call.response.await.unwrap().into_parts();
            assert_eq!(parts.status, 200);
            let mut messages = Messages::new(stream);
            let answer = messages.next().await.unwrap();
            let answer = reflection::ServerReflectionResponse::decode(answer).unwrap();
            let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
                panic!("{answer:?}")
            };
            assert_eq!(list.service.len(), 5);

            let symbol = MessageRequest::FileContainingSymbol("api.KV".to_owned());
            body.send_data(reflection_request(symbol), true).unwrap();
            let answer = messages.next().await.unwrap();
            let answer = reflection::ServerReflectionResponse::decode(answer).unwrap();
            let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response
            else {
                panic!("{answer:?}")
            };
            assert_eq!(files.file_descriptor_proto.len(), 2);
            assert_eq!((messages.next().await, messages.grpc_status().await), (None, 0));
        }
    });
}
