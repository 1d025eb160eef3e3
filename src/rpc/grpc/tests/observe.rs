//! What the observer is told. That every call which began has ended is checked by all tests.

use super::super::{CallEnd, Code, Limits, Method};
use super::client::Client;
use super::{Server, run};

#[test]
fn each_call_is_counted_once_with_its_method_and_code() {
    let server = Server::start(Limits::default());
    let addr = server.addr;
    run(async move {
        let client = Client::connect(addr).await;
        client.set("key", "value").await;
        client.get("key").await;
        client.get("nobody wrote it").await;
        client.call("/api.KV/Unknown", &()).await;
    });
    let told = server.stop();
    let expected = [
        (Method::Set, CallEnd::Succeeded),
        (Method::Get, CallEnd::Succeeded),
        (Method::Get, CallEnd::Failed(Code::NotFound)),
    ];
    assert_eq!(told.ends, expected);
    assert_eq!(told.refused, 1);
}
