//! Calls that succeed.

use bytes::Bytes;

use super::super::proto::{api, mokv};
use super::client::{Client, framed, get_request};
use super::with_server;

#[test]
fn a_written_key_reads_back_and_a_deleted_one_is_not_found() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let written: api::SetResponse = client.set("greeting", "hello").await.only();
        assert_eq!(written, api::SetResponse { ok: true, revision: 1 });

        let answer = client.get("greeting").await;
        assert_eq!((answer.http_status, answer.headers.len()), (200, 1));
        assert_eq!(answer.headers["content-type"], "application/grpc");
        let read: api::GetResponse = answer.only();
        assert_eq!((read.key.as_str(), read.value.as_ref()), ("greeting", b"hello".as_slice()));
        assert_eq!(read.revision, 1);

        let request = api::DeleteRequest { key: "greeting".to_owned() };
        let deleted: api::DeleteResponse = client.call("/api.KV/Delete", &request).await.only();
        assert_eq!(deleted, api::DeleteResponse { ok: true, revision: 2 });
        assert_eq!(client.get("greeting").await.grpc_status(), 5);
    });
}

#[test]
fn a_member_tells_who_its_servers_are_and_how_it_is() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let servers: api::GetServersResponse = client.call("/api.KV/GetServers", &()).await.only();
        assert_eq!(servers.servers[0].node_id, "0000000000000001");
        assert!(servers.servers[0].is_leader && servers.servers[0].is_voter);

        let asked = mokv::v1::StatusRequest {};
        let status: mokv::v1::StatusResponse =
            client.call("/mokv.v1.Admin/Status", &asked).await.only();
        assert_eq!((status.role.as_str(), status.last_index), ("leader", 5));

        let mut transfer = mokv::v1::TransferLeadershipRequest { to: "one".to_owned() };
        let path = "/mokv.v1.Admin/TransferLeadership";
        assert_eq!(client.call(path, &transfer).await.grpc_status(), 0);
        transfer.to = "two".to_owned();
        assert_eq!(client.call(path, &transfer).await.grpc_status(), 9);
        let leave = mokv::v1::LeaveRequest {};
        assert_eq!(client.call("/mokv.v1.Admin/Leave", &leave).await.grpc_status(), 0);
    });
}

#[test]
fn a_request_cut_into_single_bytes_is_put_together() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        client.set("greeting", "hello").await;
        let mut call = client.open("/api.KV/Get", &[]).await;
        for byte in framed(&get_request("greeting")) {
            call.body.send_data(Bytes::copy_from_slice(&[byte]), false).unwrap();
        }
        let read: api::GetResponse = call.finish(Bytes::new()).await.only();
        assert_eq!(read.value, "hello");
    });
}

#[test]
fn the_largest_value_passes_both_windows() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let value = Bytes::from(vec![7; crate::types::MAX_VALUE_BYTES]);
        assert_eq!(client.set("large", value.clone()).await.grpc_status(), 0);
        let read: api::GetResponse = client.get("large").await.only();
        assert_eq!(read.value, value);
    });
}

#[test]
fn more_calls_than_a_connection_may_have_open_are_all_answered_in_time() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let calls: Vec<_> = (0..3_000)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move { client.set(&format!("key-{number}"), "value").await })
            })
            .collect();
        let mut revisions = Vec::new();
        for call in calls {
            revisions.push(call.await.unwrap().only::<api::SetResponse>().revision);
        }
        revisions.sort_unstable();
        assert!(revisions.into_iter().eq(1..=3_000), "each write happened once");
    });
}
