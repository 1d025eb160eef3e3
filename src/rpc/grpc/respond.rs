//! Writes answers to HTTP/2 streams.
//!
//! An error of `h2` here always means that the client has cancelled the call or is gone: there is
//! nobody to tell, so it ends the answer and nothing else.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::header::{ALLOW, HeaderValue};
use http::{Response, StatusCode};

use super::route::Refusal;
use super::status::{Code, Status};
use super::trailers::{GRPC_ACCEPT_ENCODING, ok_trailers, put_status, response_headers};

/// The client cancelled the call, or is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Gone {
        Gone
    }
}

/// Answers with one message, in two parts, and success: headers, data and trailers in one go.
///
/// The parts are queued whatever the client's window: they are small, or shared with the store.
pub(super) fn succeed(
    mut respond: SendResponse<Bytes>,
    head: Bytes,
    shared: Bytes,
) -> Result<(), Gone> {
    let mut stream = respond.send_response(ok_response(), false)?;
    stream.send_data(head, false)?;
    if !shared.is_empty() {
        stream.send_data(shared, false)?;
    }
    Ok(stream.send_trailers(ok_trailers())?)
}

/// Answers with a failure and nothing else ("Trailers-Only").
pub(super) fn fail(mut respond: SendResponse<Bytes>, status: &Status) -> Result<(), Gone> {
    let mut response = ok_response();
    put_status(status, response.headers_mut());
    if status.code == Code::Unimplemented {
        response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    respond.send_response(response, true)?;
    Ok(())
}

/// Answers a call whose head is not acceptable.
pub(super) fn refuse(mut respond: SendResponse<Bytes>, refusal: &Refusal) -> Result<(), Gone> {
    match refusal {
        Refusal::Grpc(status) => fail(respond, status),
        Refusal::Http(code) => {
            let mut response = Response::new(());
            *response.status_mut() = *code;
            if *code == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            respond.send_response(response, true)?;
            Ok(())
        }
    }
}

/// An answer of many messages, sent no faster than the client takes them.
pub(super) struct Outflow {
    stream: SendStream<Bytes>,
    /// What the client's window did not admit yet.
    waiting: Bytes,
}

impl Outflow {
    /// Sends the headers.
    pub(super) fn start(mut respond: SendResponse<Bytes>) -> Result<Outflow, Gone> {
        let stream = respond.send_response(ok_response(), false)?;
        Ok(Outflow { stream, waiting: Bytes::new() })
    }

    /// Takes framed messages to send.
    ///
    /// # Panics
    /// When the last ones have not all been sent: [`poll_sent`](Outflow::poll_sent) comes first.
    pub(super) fn push(&mut self, messages: Bytes) {
        assert!(self.waiting.is_empty(), "messages were pushed before the last ones were sent");
        self.waiting = messages;
    }

    /// Ready when everything pushed has been admitted by the client's window.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        while !self.waiting.is_empty() {
            self.stream.reserve_capacity(self.waiting.len());
            let capacity = self.stream.capacity();
            if capacity == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
                }
            }
            let part = self.waiting.split_to(capacity.min(self.waiting.len()));
            self.stream.send_data(part, false)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has cancelled the call.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        self.stream.poll_reset(cx).map(|_| Gone)
    }

    /// Ends the answer, well or with a failure. What has not been sent yet is dropped.
    pub(super) fn finish(mut self, end: Result<(), Status>) -> Result<(), Gone> {
        let trailers = match end {
            Ok(()) => ok_trailers(),
            Err(status) => {
                let mut trailers = http::HeaderMap::new();
                put_status(&status, &mut trailers);
                trailers
            }
        };
        Ok(self.stream.send_trailers(trailers)?)
    }
}

fn ok_response() -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = response_headers();
    response
}
