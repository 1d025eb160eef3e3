//! The only file that knows both the messages of `proto/` and the store's own words.

use bytes::{BufMut, Bytes, BytesMut};
use prost::{Message, encode_length_delimiter, length_delimiter_len};

use super::backend::{HealthService, Reply, Request, ServerInfo, StatusInfo};
use super::framing::put_prefix;
use super::list::{ListItem, ListReceiver};
use super::proto::grpc::health::v1::health_check_response::ServingStatus;
use super::proto::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse};
use super::proto::{api, mokv};
use super::route::Method;
use super::status::Status;
use crate::types::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// Values from this size on are handed to the socket as they are instead of being copied next to
/// their key: the bytes stay shared with the store while a slow client takes its time.
const SHARED_VALUE_BYTES: usize = 8 << 10;

/// A request after its one message was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// For the store.
    Backend(Request),
    /// For the health service; `None` is a service that does not exist.
    Check { name: String, service: Option<HealthService> },
    /// Likewise.
    Watch(Option<HealthService>),
}

/// A successful answer.
pub(super) enum Outgoing {
    /// One framed message, in two parts that follow each other; `shared` may be empty.
    Message { head: Bytes, shared: Bytes },
    /// A stream of messages.
    List(ListReceiver),
}

/// Reads the one message of a call.
///
/// # Panics
/// For [`Method::Reflection`], which takes a stream of messages.
pub(super) fn decode(method: Method, message: Bytes) -> Result<Incoming, Status> {
    let request = match method {
        Method::Get => {
            let api::GetRequest { key, stale } = decoded(message)?;
            Request::Get { key: checked_key(key)?, stale }
        }
        Method::Set => {
            let api::SetRequest { key, value } = decoded(message)?;
            if value.len() > MAX_VALUE_BYTES {
                return Err(Status::value_too_large(value.len()));
            }
            Request::Set { key: checked_key(key)?, value }
        }
        Method::Delete => {
            let api::DeleteRequest { key } = decoded(message)?;
            Request::Delete { key: checked_key(key)? }
        }
        Method::List => decoded::<()>(message).map(|()| Request::List)?,
        Method::GetServers => decoded::<()>(message).map(|()| Request::Servers)?,
        Method::Status => decoded::<mokv::v1::StatusRequest>(message).map(|_| Request::Status)?,
        Method::Leave => decoded::<mokv::v1::LeaveRequest>(message).map(|_| Request::Leave)?,
        Method::TransferLeadership => {
            let mokv::v1::TransferLeadershipRequest { to } = decoded(message)?;
            Request::TransferLeadership { to }
        }
        Method::HealthCheck => {
            let HealthCheckRequest { service: name } = decoded(message)?;
            let service = HealthService::by_name(&name);
            return Ok(Incoming::Check { name, service });
        }
        Method::HealthWatch => {
            let HealthCheckRequest { service } = decoded(message)?;
            return Ok(Incoming::Watch(HealthService::by_name(&service)));
        }
        Method::Reflection => unreachable!("reflection reads its messages itself"),
    };
    Ok(Incoming::Backend(request))
}

/// Writes the answer to a call; `key` is the one a `Get` asked for.
pub(super) fn encode(
    method: Method,
    key: &[u8],
    reply: Reply,
    out: &mut BytesMut,
) -> Result<Outgoing, Status> {
    match (method, reply) {
        (_, Reply::Failed(status)) => Err(status),
        (Method::Get, Reply::Value { value, revision }) => {
            Ok(value_message(key, value, revision, out))
        }
        (Method::Set, Reply::Written { revision }) => {
            Ok(message(&api::SetResponse { ok: true, revision }, out))
        }
        (Method::Delete, Reply::Written { revision }) => {
            Ok(message(&api::DeleteResponse { ok: true, revision }, out))
        }
        (Method::List, Reply::List(receiver)) => Ok(Outgoing::List(receiver)),
        (Method::GetServers, Reply::Servers(servers)) => {
            let servers = servers.into_iter().map(server).collect();
            Ok(message(&api::GetServersResponse { servers }, out))
        }
        (Method::Status, Reply::Status(info)) => Ok(message(&status_response(*info), out)),
        (Method::Leave, Reply::Done) => Ok(message(&mokv::v1::LeaveResponse {}, out)),
        (Method::TransferLeadership, Reply::Done) => {
            Ok(message(&mokv::v1::TransferLeadershipResponse {}, out))
        }
        // An answer to another question: the store's defect, and no reason to stop serving.
        (method, _) => {
            debug_assert!(false, "{method:?} got an answer of another kind");
            Err(Status::lost_reply(method.outcome_if_late()))
        }
    }
}

/// Appends one framed item of a list.
pub(super) fn put_list_item(item: &ListItem, out: &mut BytesMut) {
    put_value_head(&item.key, item.value.len(), item.revision, out);
    out.put_slice(&item.value);
}

/// A framed health answer; `None` stands for a service that does not exist.
pub(super) fn health_message(serving: Option<bool>, out: &mut BytesMut) -> Bytes {
    let status = match serving {
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
        None => ServingStatus::ServiceUnknown,
    };
    framed(&HealthCheckResponse { status: status as i32 }, out)
}

/// One message with its prefix. `out` is where bytes are written before they are split off.
pub(super) fn framed(message: &impl Message, out: &mut BytesMut) -> Bytes {
    put_prefix(out, message.encoded_len());
    message.encode(out).expect("BytesMut grows as needed");
    out.split().freeze()
}

fn message(message: &impl Message, out: &mut BytesMut) -> Outgoing {
    Outgoing::Message { head: framed(message, out), shared: Bytes::new() }
}

fn decoded<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(Status::malformed_message)
}

fn checked_key(key: String) -> Result<Bytes, Status> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        Ok(Bytes::from(key))
    } else {
        Err(Status::invalid_key(key.len()))
    }
}

fn value_message(key: &[u8], value: Bytes, revision: u64, out: &mut BytesMut) -> Outgoing {
    put_value_head(key, value.len(), revision, out);
    if value.len() >= SHARED_VALUE_BYTES {
        return Outgoing::Message { head: out.split().freeze(), shared: value };
    }
    out.put_slice(&value);
    Outgoing::Message { head: out.split().freeze(), shared: Bytes::new() }
}

/// Appends the prefix and all of an `api.GetResponse` but the bytes of its value, which follow.
///
/// By hand, with the value last, so that neither key nor value is copied into a message first.
fn put_value_head(key: &[u8], value_bytes: usize, revision: u64, out: &mut BytesMut) {
    // Field numbers 1, 2 and 3 with their wire types: length-delimited, length-delimited, varint.
    const KEY: u8 = 1 << 3 | 2;
    const VALUE: u8 = 2 << 3 | 2;
    const REVISION: u8 = 3 << 3;
    // A length delimiter is a varint, and so is a revision.
    let revision = usize::try_from(revision).expect("a usize has 64 bits here");
    let length = 3
        + length_delimiter_len(key.len())
        + key.len()
        + length_delimiter_len(revision)
        + length_delimiter_len(value_bytes)
        + value_bytes;
    out.reserve(super::framing::PREFIX_BYTES + length);
    put_prefix(out, length);
    let mut put_varint = |tag: u8, number: usize, bytes: &[u8]| {
        out.put_u8(tag);
        encode_length_delimiter(number, out).expect("room was reserved");
        out.put_slice(bytes);
    };
    put_varint(KEY, key.len(), key);
    put_varint(REVISION, revision, &[]);
    put_varint(VALUE, value_bytes, &[]);
}

fn server(info: ServerInfo) -> api::Server {
    api::Server {
        id: info.name,
        rpc_addr: info.rpc_addr,
        is_leader: info.is_leader,
        node_id: info.node_id.to_string(),
        is_voter: info.is_voter,
    }
}

fn status_response(info: StatusInfo) -> mokv::v1::StatusResponse {
    mokv::v1::StatusResponse {
        version: info.version,
        name: info.name,
        node_id: info.node_id.to_string(),
        cluster_id: info.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        role: info.role.as_str().to_owned(),
        leader: info.leader,
        term: info.term,
        commit_index: info.commit_index,
        applied_index: info.applied_index,
        last_index: info.last_index,
        snapshot_index: info.snapshot_index,
        revision: info.revision,
        keys: info.keys,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::grpc::framing::PREFIX_BYTES;
    use crate::rpc::grpc::status::{Code, Outcome};

    fn set(key: String, value: Vec<u8>) -> Result<Incoming, Status> {
        let message = api::SetRequest { key, value: value.into() }.encode_to_vec();
        decode(Method::Set, message.into())
    }

    fn joined(outgoing: Result<Outgoing, Status>) -> Vec<u8> {
        match outgoing {
            Ok(Outgoing::Message { head, shared }) => [head, shared].concat(),
            Ok(Outgoing::List(_)) => panic!("a list is no message"),
            Err(status) => panic!("{status:?}"),
        }
    }

    #[test]
    fn keys_and_values_at_their_limits_are_let_in_and_over_them_are_not() {
        let key = |bytes| "k".repeat(bytes);
        assert!(set(key(1), vec![]).is_ok());
        assert!(set(key(MAX_KEY_BYTES), vec![0; MAX_VALUE_BYTES]).is_ok());
        for refused in [
            set(key(0), vec![]),
            set(key(MAX_KEY_BYTES + 1), vec![]),
            set(key(1), vec![0; MAX_VALUE_BYTES + 1]),
        ] {
            let status = refused.unwrap_err();
            assert_eq!((status.code, status.outcome), (Code::InvalidArgument, Outcome::NotDone));
        }
    }

    #[test]
    fn a_key_that_is_not_utf8_is_malformed() {
        let refused = decode(Method::Get, Bytes::from_static(&[0x0a, 1, 0xff])).unwrap_err();
        assert_eq!((refused.code, refused.reason), (Code::InvalidArgument, "MALFORMED_MESSAGE"));
    }

    #[test]
    fn a_large_value_is_not_copied() {
        let value = Bytes::from(vec![7; SHARED_VALUE_BYTES]);
        let reply = Reply::Value { value: value.clone(), revision: 1 };
        let encoded = encode(Method::Get, b"k", reply, &mut BytesMut::new());
        let Ok(Outgoing::Message { shared, .. }) = encoded else { panic!("no message") };
        assert_eq!(shared.as_ptr(), value.as_ptr());
    }

    proptest! {
        #[test]
        fn a_value_reads_back_with_its_key_and_revision(
            key in ".{1,40}",
            value in proptest::collection::vec(any::<u8>(), 0..300),
            shared in any::<bool>(),
            revision in any::<u64>(),
        ) {
            let value = if shared { value.repeat(100) } else { value };
            let reply = Reply::Value { value: value.clone().into(), revision };
            let bytes = joined(encode(Method::Get, key.as_bytes(), reply, &mut BytesMut::new()));
            let length = u32::from_be_bytes(bytes[1..PREFIX_BYTES].try_into().unwrap());
            prop_assert_eq!((bytes[0], length as usize), (0, bytes.len() - PREFIX_BYTES));
            let message = api::GetResponse::decode(&bytes[PREFIX_BYTES..]).unwrap();
            prop_assert_eq!(message, api::GetResponse { key, value: value.into(), revision });
        }

        #[test]
        fn garbage_never_panics(message in proptest::collection::vec(any::<u8>(), 0..60)) {
            for method in [Method::Get, Method::Set, Method::List, Method::HealthWatch] {
                let _ = decode(method, Bytes::from(message.clone()));
            }
        }
    }
}
