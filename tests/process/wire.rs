//! The client API as raw messages, for asking one certain member without a client that routes.

use std::collections::BTreeMap;
use std::io;

use bytes::{Buf, Bytes};
use prost::Message;

use crate::grpc::{self, Answer, Call};

/// `api.SetRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SetRequest {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `api.GetRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetRequest {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
}

/// `api.GetResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetResponse {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
    #[prost(uint64, tag = "3")]
    pub(crate) revision: u64,
}

/// The value of a key and the revision of the write that made it.
pub(crate) type Items = BTreeMap<String, (Bytes, u64)>;

/// Makes a call with one message and no extra headers.
pub(crate) async fn call(addr: &str, path: &str, message: &impl Message) -> io::Result<Answer> {
    let body = grpc::framed(&message.encode_to_vec());
    grpc::call(addr, &Call { path, headers: &[], body }).await
}

/// All keys as the member at `addr` lists them; an error when the list did not end with OK.
pub(crate) async fn list(addr: &str) -> Result<Items, String> {
    let answer = call(addr, "/api.KV/List", &()).await.map_err(|error| error.to_string())?;
    if answer.status != Some(0) {
        return Err(format!("list ended with {:?}: {}", answer.status, answer.message));
    }
    let mut items = Items::new();
    let mut rest = answer.body;
    while rest.has_remaining() {
        assert_eq!(rest.get_u8(), 0, "a message came compressed");
        let len = rest.get_u32() as usize;
        let item = GetResponse::decode(rest.split_to(len)).expect("a listed item decodes");
        let key = item.key.clone();
        let twice = items.insert(item.key, (item.value, item.revision));
        assert!(twice.is_none(), "{key} is listed twice");
    }
    Ok(items)
}

/// The one message of a response that ended with OK.
pub(crate) fn decode<M: Message + Default>(answer: &Answer) -> M {
    assert_eq!(answer.status, Some(0), "{}", answer.message);
    M::decode(&answer.body[5..]).expect("a response decodes")
}
