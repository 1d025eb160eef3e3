//! The calls that answer with a stream of messages: `List`, health's `Watch`, and reflection.
//!
//! Each sends its next message only when the client's window has taken the last one, so a slow
//! client holds one chunk here and makes the producer wait.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::backend::{Backend, HealthService};
use super::body::Body;
use super::convert::{framed, health_message, put_list_item};
use super::list::ListReceiver;
use super::proto::grpc::reflection::v1::ServerReflectionRequest;
use super::reflection::Registry;
use super::respond::{Gone, Outflow};
use super::signal::Subscription;
use super::status::Status;

/// A call that answers with a stream.
pub(super) enum Streaming {
    List(ListReceiver),
    Watch(Watch),
    Reflection(Reflection),
}

/// Tells a client of one service's health, now and at each change.
pub(super) struct Watch {
    /// `None` is a service that does not exist; it may in a later version, so the call stays open.
    pub(super) service: Option<HealthService>,
    pub(super) changes: Subscription,
    /// The state the client was last told; `None` before the first.
    pub(super) told: Option<Option<bool>>,
}

/// Answers one request after the other.
pub(super) struct Reflection {
    pub(super) requests: Body,
    pub(super) registry: Rc<Registry>,
}

/// How a stream ends.
pub(super) enum End {
    /// With these trailers.
    Finished(Result<(), Status>),
    /// Without: the client is gone.
    Gone,
}

impl From<Gone> for End {
    fn from(_: Gone) -> End {
        End::Gone
    }
}

impl Streaming {
    /// Sends as much as the client and the producer admit; ready at the end of the stream.
    pub(super) fn poll<B: Backend>(
        &mut self,
        outflow: &mut Outflow,
        backend: &B,
        out: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        if outflow.poll_gone(cx).is_ready() {
            return Poll::Ready(End::Gone);
        }
        loop {
            if let Err(gone) = ready!(outflow.poll_sent(cx)) {
                return Poll::Ready(gone.into());
            }
            let next = match self {
                Streaming::List(receiver) => poll_list(receiver, out, cx),
                Streaming::Watch(watch) => watch.poll(backend, out, cx),
                Streaming::Reflection(reflection) => reflection.poll(out, cx),
            };
            match ready!(next) {
                Next::Messages(messages) => outflow.push(messages),
                Next::End(end) => return Poll::Ready(end),
            }
        }
    }

    /// Whether it would go on for ever, were the server not to end it.
    pub(super) fn is_endless(&self) -> bool {
        match self {
            Streaming::List(_) => false,
            Streaming::Watch(_) | Streaming::Reflection(_) => true,
        }
    }
}

/// What a stream does next.
enum Next {
    /// Sends these framed messages.
    Messages(Bytes),
    End(End),
}

fn poll_list(receiver: &mut ListReceiver, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Next> {
    match ready!(receiver.poll_next(cx)) {
        Some(Ok(items)) => {
            for item in &items {
                put_list_item(item, out);
            }
            Poll::Ready(Next::Messages(out.split().freeze()))
        }
        Some(Err(status)) => Poll::Ready(Next::End(End::Finished(Err(status)))),
        None => Poll::Ready(Next::End(End::Finished(Ok(())))),
    }
}

impl Watch {
    fn poll<B: Backend>(
        &mut self,
        backend: &B,
        out: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        loop {
            let serving = self.service.map(|service| backend.health(service));
            if self.told != Some(serving) {
                self.told = Some(serving);
                return Poll::Ready(Next::Messages(health_message(serving, out)));
            }
            ready!(self.changes.poll_changed(cx));
        }
    }
}

impl Reflection {
    fn poll(&mut self, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Next> {
        let end = match ready!(self.requests.poll_next_message(cx)) {
            Ok(Some(message)) => match ServerReflectionRequest::decode(message) {
                Ok(request) => {
                    return Poll::Ready(Next::Messages(framed(
                        &self.registry.answer(request),
                        out,
                    )));
                }
                Err(error) => End::Finished(Err(Status::malformed_message(error))),
            },
            Ok(None) => End::Finished(Ok(())),
            Err(error) => match error.into_status() {
                Some(status) => End::Finished(Err(status)),
                None => End::Gone,
            },
        };
        Poll::Ready(Next::End(end))
    }
}
