//! How a status travels: the header fields at the end of every gRPC answer.
//!
//! ```text
//!  grpc-status               decimal code, 0 for success
//!  grpc-message              text for people, percent-encoded
//!  grpc-status-details-bin   google.rpc.Status as protobuf, base64 without padding
//! ```

use std::collections::BTreeMap;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use prost_types::{Any, Duration};

use super::proto::google::rpc;
use super::status::Status;

/// The domain of every `ErrorInfo` of this server.
pub(super) const ERROR_DOMAIN: &str = "mokv";

/// The encodings this server accepts, told to a client that used another one.
pub(super) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const STATUS_OK: HeaderValue = HeaderValue::from_static("0");

/// The longest message that is sent, in bytes before it is percent-encoded: trailers must fit the
/// header list of any client (8 KiB is common), and a message may quote what the client sent.
const MAX_STATUS_MESSAGE_BYTES: usize = 1 << 10;

/// The header fields at the beginning of an answer.
#[must_use]
pub(super) fn response_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    headers
}

/// The header fields at the end of an answer that succeeded.
#[must_use]
pub(super) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, STATUS_OK);
    trailers
}

/// Adds the header fields that tell of a failure.
pub(super) fn put_status(status: &Status, trailers: &mut HeaderMap) {
    let message = shortened(&status.message);
    trailers.insert(GRPC_STATUS, HeaderValue::from(status.code as u16));
    trailers.insert(GRPC_MESSAGE, header_value(percent_encoded(message)));
    let details = base64_unpadded(&details(status, message).encode_to_vec());
    trailers.insert(GRPC_STATUS_DETAILS, header_value(details));
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("percent-encoding and base64 give printable ASCII only")
}

fn details(status: &Status, message: &str) -> rpc::Status {
    let mut metadata: BTreeMap<String, String> =
        status.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    metadata.insert("outcome".to_owned(), status.outcome.as_str().to_owned());
    let info = rpc::ErrorInfo {
        reason: status.reason.to_owned(),
        domain: ERROR_DOMAIN.to_owned(),
        metadata,
    };
    let mut details = vec![packed("google.rpc.ErrorInfo", &info)];
    if let Some(retry_after_ms) = status.retry_after_ms {
        let retry_delay = Some(Duration {
            seconds: (retry_after_ms / 1_000).cast_signed(),
            nanos: (retry_after_ms % 1_000 * 1_000_000) as i32,
        });
        details.push(packed("google.rpc.RetryInfo", &rpc::RetryInfo { retry_delay }));
    }
    rpc::Status { code: status.code as i32, message: message.to_owned(), details }
}

fn packed(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_STATUS_MESSAGE_BYTES)]
}

/// Encodes all but printable ASCII, and `%` itself, as `%XX` of its UTF-8 bytes.
fn percent_encoded(message: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
            0x20..0x7f => out.push(char::from(byte)),
        }
    }
    out
}

/// Base64 of RFC 4648 §4 without the `=` at its end, as gRPC asks for binary header fields.
fn base64_unpadded(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut bits = 0u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(group.get(at).copied().unwrap_or(0));
        }
        // n bytes need n + 1 digits of six bits.
        for digit in 0..=group.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rpc::grpc::status::Outcome;

    fn percent_decoded(text: &str) -> Vec<u8> {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            let mut hex = || char::from(bytes.next().unwrap()).to_digit(16).unwrap() as u8;
            out.push(if byte == b'%' { hex() << 4 | hex() } else { byte });
        }
        out
    }

    fn base64_decoded(text: &str) -> Vec<u8> {
        let digit = |byte: u8| match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is no base64 digit"),
        };
        let mut out = Vec::new();
        for group in text.as_bytes().chunks(4) {
            let bits = (0..4).fold(0u32, |bits, at| {
                bits << 6 | u32::from(group.get(at).map_or(0, |byte| digit(*byte)))
            });
            out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        out
    }

    #[test]
    fn the_examples_of_rfc_4648_hold_without_padding() {
        let examples = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")];
        for (bytes, text) in examples {
            assert_eq!(base64_unpadded(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_failure_says_what_happened_to_people_and_to_programs() {
        let mut trailers = HeaderMap::new();
        put_status(&Status::outcome_unknown(), &mut trailers);
        assert_eq!(trailers[GRPC_STATUS], "14");
        let details = base64_decoded(trailers[GRPC_STATUS_DETAILS].to_str().unwrap());
        let details = rpc::Status::decode(details.as_slice()).unwrap();
        assert_eq!(details.code, 14);
        let info = rpc::ErrorInfo::decode(details.details[0].value.as_slice()).unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OUTCOME_UNKNOWN", "mokv"));
        assert_eq!(info.metadata["outcome"], Outcome::Unknown.as_str());
        let retry = rpc::RetryInfo::decode(details.details[1].value.as_slice()).unwrap();
        assert_eq!(retry.retry_delay, Some(Duration { seconds: 0, nanos: 100_000_000 }));
    }

    #[test]
    fn a_message_that_quotes_a_huge_input_is_cut_at_a_character() {
        let mut trailers = HeaderMap::new();
        put_status(&Status::unknown_method(&"ö".repeat(5_000)), &mut trailers);
        let message = percent_decoded(trailers[GRPC_MESSAGE].to_str().unwrap());
        assert!(message.len() <= MAX_STATUS_MESSAGE_BYTES);
        assert!(String::from_utf8(message).unwrap().ends_with('ö'));
    }

    proptest! {
        #[test]
        fn percent_encoding_reads_back_and_is_printable(message in ".{0,60}") {
            let encoded = percent_encoded(&message);
            prop_assert!(encoded.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(percent_decoded(&encoded), message.as_bytes());
        }

        #[test]
        fn base64_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(base64_decoded(&base64_unpadded(&bytes)), bytes);
        }
    }
}
