//! Reads the head of a call: which method it wants, for how long, and whether it is gRPC at all.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method as HttpMethod, StatusCode};

use super::status::{Outcome, Status};
use super::timeout::parse_timeout;

/// A method this server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `api.KV/Get`
    Get,
    /// `api.KV/Set`
    Set,
    /// `api.KV/Delete`
    Delete,
    /// `api.KV/List`
    List,
    /// `api.KV/GetServers`
    GetServers,
    /// `mokv.v1.Admin/Status`
    Status,
    /// `mokv.v1.Admin/Leave`
    Leave,
    /// `mokv.v1.Admin/TransferLeadership`
    TransferLeadership,
    /// `grpc.health.v1.Health/Check`
    HealthCheck,
    /// `grpc.health.v1.Health/Watch`
    HealthWatch,
    /// `grpc.reflection`, v1 and v1alpha: they differ only in the name of the package.
    Reflection,
}

/// A call that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) timeout: Option<Duration>,
}

/// A call that may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not gRPC, so that only an HTTP status can be understood.
    Http(StatusCode),
    /// It is gRPC.
    Grpc(Status),
}

impl Method {
    /// Every method, in the order of their declaration.
    pub const ALL: [Method; 11] = [
        Method::Get,
        Method::Set,
        Method::Delete,
        Method::List,
        Method::GetServers,
        Method::Status,
        Method::Leave,
        Method::TransferLeadership,
        Method::HealthCheck,
        Method::HealthWatch,
        Method::Reflection,
    ];

    /// Whether a call lasts as long as its client likes, so that its duration tells nothing.
    #[must_use]
    pub fn is_endless(self) -> bool {
        matches!(self, Method::HealthWatch | Method::Reflection)
    }

    /// What is known of a call's outcome when its deadline passes while the store works on it.
    pub(super) fn outcome_if_late(self) -> Outcome {
        match self {
            Method::Set | Method::Delete | Method::Leave | Method::TransferLeadership => {
                Outcome::Unknown
            }
            Method::Get
            | Method::List
            | Method::GetServers
            | Method::Status
            | Method::HealthCheck
            | Method::HealthWatch
            | Method::Reflection => Outcome::NotDone,
        }
    }

    fn by_path(path: &str) -> Option<Method> {
        match path {
            "/api.KV/Get" => Some(Method::Get),
            "/api.KV/Set" => Some(Method::Set),
            "/api.KV/Delete" => Some(Method::Delete),
            "/api.KV/List" => Some(Method::List),
            "/api.KV/GetServers" => Some(Method::GetServers),
            "/mokv.v1.Admin/Status" => Some(Method::Status),
            "/mokv.v1.Admin/Leave" => Some(Method::Leave),
            "/mokv.v1.Admin/TransferLeadership" => Some(Method::TransferLeadership),
            "/grpc.health.v1.Health/Check" => Some(Method::HealthCheck),
            "/grpc.health.v1.Health/Watch" => Some(Method::HealthWatch),
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
            | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
                Some(Method::Reflection)
            }
            _ => None,
        }
    }
}

/// Reads the head of a call.
///
/// `te: trailers` is not insisted on: a client whose proxy strips it is better served than refused.
pub(super) fn read_head(parts: &Parts) -> Result<Head, Refusal> {
    if parts.method != HttpMethod::POST {
        return Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED));
    }
    if !is_grpc(&parts.headers) {
        return Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let path = parts.uri.path();
    let method =
        Method::by_path(path).ok_or_else(|| Refusal::Grpc(Status::unknown_method(path)))?;
    if let Some(encoding) = parts.headers.get("grpc-encoding")
        && encoding != "identity"
    {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        return Err(Refusal::Grpc(Status::unsupported_encoding(&encoding)));
    }
    let timeout = match parts.headers.get("grpc-timeout") {
        None => None,
        Some(value) => Some(
            parse_timeout(value.as_bytes())
                .map_err(|error| Refusal::Grpc(Status::malformed_header(error)))?,
        ),
    };
    Ok(Head { method, timeout })
}

/// `application/grpc`, alone or followed by `+proto` or by parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(b"" | b"+proto") => true,
        Some(rest) => rest.starts_with(b";") || rest.starts_with(b"+proto;"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::grpc::status::Code;

    fn head_of(method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Head, Refusal> {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read_head(&request.body(()).unwrap().into_parts().0)
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    fn grpc_code(refusal: Result<Head, Refusal>) -> Code {
        match refusal {
            Err(Refusal::Grpc(status)) => status.code,
            other => panic!("{other:?} is no gRPC status"),
        }
    }

    #[test]
    fn a_path_matches_exactly_or_not_at_all() {
        let head = Head { method: Method::Set, timeout: None };
        assert_eq!(head_of("POST", "/api.KV/Set", &[GRPC]), Ok(head));
        for path in ["/api.KV/set", "/api.KV/Set/", "/KV/Set", "/", "/api.KV/Sets"] {
            assert_eq!(grpc_code(head_of("POST", path, &[GRPC])), Code::Unimplemented, "{path}");
        }
    }

    #[test]
    fn what_is_not_grpc_gets_an_http_status() {
        let not_post = head_of("GET", "/api.KV/Set", &[GRPC]);
        assert_eq!(not_post, Err(Refusal::Http(StatusCode::METHOD_NOT_ALLOWED)));
        for content_type in ["application/json", "application/grpcx", "application/grpc+json"] {
            let refused = head_of("POST", "/api.KV/Set", &[("content-type", content_type)]);
            assert_eq!(refused, Err(Refusal::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE)));
        }
        for content_type in ["application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(head_of("POST", "/api.KV/Set", &[("content-type", content_type)]).is_ok());
        }
    }

    #[test]
    fn a_compressed_call_is_refused_by_the_name_of_its_encoding() {
        let refused = head_of("POST", "/api.KV/Set", &[GRPC, ("grpc-encoding", "gzip")]);
        let Err(Refusal::Grpc(status)) = refused else { panic!("gzip was let in") };
        assert_eq!(status.code, Code::Unimplemented);
        assert!(status.message.contains("gzip"));
        assert!(head_of("POST", "/api.KV/Set", &[GRPC, ("grpc-encoding", "identity")]).is_ok());
    }

    #[test]
    fn a_timeout_is_read_and_a_malformed_one_refused() {
        let head = head_of("POST", "/api.KV/Get", &[GRPC, ("grpc-timeout", "250m")]).unwrap();
        assert_eq!(head.timeout, Some(Duration::from_millis(250)));
        let refused = head_of("POST", "/api.KV/Get", &[GRPC, ("grpc-timeout", "soon")]);
        assert_eq!(grpc_code(refused), Code::InvalidArgument);
    }
}
