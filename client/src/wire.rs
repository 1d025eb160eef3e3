//! The few standard messages the client reads beside its own contract: gRPC health checking, and the
//! `google.rpc.Status` that rides in `grpc-status-details-bin`. Only the fields it uses stand here.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// The path of `grpc.health.v1.Health.Check`.
pub(crate) const HEALTH_CHECK_PATH: &str = "/grpc.health.v1.Health/Check";
/// `ServingStatus.SERVING` of `grpc.health.v1`.
pub(crate) const HEALTH_SERVING: i32 = 1;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthCheckRequest {
    /// The service asked about; empty asks about the server as a whole.
    #[prost(string, tag = "1")]
    pub(crate) service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HealthCheckResponse {
    /// A `ServingStatus`.
    #[prost(int32, tag = "1")]
    pub(crate) status: i32,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(crate) reason: String,
    #[prost(string, tag = "2")]
    pub(crate) domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) metadata: BTreeMap<String, String>,
}

const ERROR_INFO_TYPE: &str = "google.rpc.ErrorInfo";
const RETRY_INFO_TYPE: &str = "google.rpc.RetryInfo";

/// What mökv's servers add to a gRPC status code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Details {
    /// The `outcome` the server states: `none` or `unknown`.
    pub(crate) outcome: Option<String>,
    /// The server asked for another try (`google.rpc.RetryInfo` is present).
    pub(crate) retry: bool,
}

impl Details {
    /// Reads the details of a status; anything malformed or unknown counts as absent, because a
    /// proxy may put there what it likes.
    pub(crate) fn decode(bytes: &[u8]) -> Details {
        let mut found = Details::default();
        let Ok(status) = RpcStatus::decode(bytes) else { return found };
        for any in status.details {
            match any.type_url.rsplit('/').next() {
                Some(ERROR_INFO_TYPE) => {
                    if let Ok(mut info) = ErrorInfo::decode(any.value) {
                        found.outcome = info.metadata.remove("outcome");
                    }
                }
                Some(RETRY_INFO_TYPE) => found.retry = true,
                Some(_) | None => {}
            }
        }
        found
    }
}
