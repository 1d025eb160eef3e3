//! The calls of one connection, from their first frame to their last.
//!
//! ```text
//!             message complete            Reply
//!  Receiving ------------------> Waiting -------> answered
//!      |                            |
//!      | Watch                      | Reply::List
//!      +----------> Streaming <-----+
//!                       |
//!  reflection ----------+--> finished
//! ```
//!
//! A call leaves its table when it is answered, when its deadline passes, when its client cancels
//! it, or with the connection. An answer that comes later finds no call and is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use foldhash::fast::FixedState;
use h2::RecvStream;
use h2::server::SendResponse;
use hashbrown::HashMap;

use super::backend::{Backend, HealthService, Reply, Request};
use super::body::Body;
use super::convert::{self, Incoming, Outgoing};
use super::observe::CallEnd;
use super::reflection::Registry;
use super::reply::ReplyQueue;
use super::respond::{self, Gone, Outflow};
use super::route::{Method, read_head};
use super::server::Shared;
use super::status::{Outcome, Status};
use super::streaming::{End, Reflection, Streaming, Watch};

/// How many calls one connection may have open here. More than the streams a client may have at
/// once, because a call that its client cancelled stays until the store has answered it.
pub(super) const MAX_CALLS: usize = 2 * super::connection::MAX_CONCURRENT_STREAMS as usize;

/// How much memory is taken at once to write small answers into.
const ANSWER_BLOCK_BYTES: usize = 4 << 10;

/// All open calls of a connection. A token is in exactly one of the three tables.
pub(super) struct Calls<B> {
    shared: Rc<Shared<B>>,
    replies: Rc<ReplyQueue>,
    /// Reused from turn to turn.
    drained: Vec<(u64, Reply)>,
    /// Where answers are written before they are split off.
    out: BytesMut,
    next_token: u64,
    receiving: BTreeMap<u64, Receiving>,
    waiting: HashMap<u64, Waiting, FixedState>,
    streaming: BTreeMap<u64, Sending>,
    /// The deadlines of the calls that have one, earliest first.
    deadlines: BTreeSet<(Instant, u64)>,
    draining: bool,
    /// When this pass began. One look at the clock serves all calls that come or go in it.
    now: Instant,
}

/// What every open call has.
struct Call {
    token: u64,
    method: Method,
    began: Instant,
    deadline: Option<Instant>,
}

/// A call whose request is not complete.
struct Receiving {
    call: Call,
    body: Body,
    respond: SendResponse<Bytes>,
}

/// A call that the store works on.
struct Waiting {
    call: Call,
    /// The key of a `Get`, which its answer repeats; empty otherwise.
    key: Bytes,
    respond: SendResponse<Bytes>,
}

/// A call whose answer is a stream.
struct Sending {
    call: Call,
    streaming: Streaming,
    outflow: Outflow,
}

impl<B: Backend> Calls<B> {
    pub(super) fn new(shared: Rc<Shared<B>>, waker: Waker) -> Calls<B> {
        Calls {
            shared,
            replies: ReplyQueue::new(waker),
            drained: Vec::new(),
            out: BytesMut::with_capacity(ANSWER_BLOCK_BYTES),
            next_token: 0,
            receiving: BTreeMap::new(),
            waiting: HashMap::default(),
            streaming: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            draining: false,
            now: Instant::now(),
        }
    }

    /// Whether answers wait to be written.
    pub(super) fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// When the next deadline passes.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Another pass of the connection's turn begins.
    pub(super) fn begin_pass(&mut self, now: Instant) {
        self.now = now;
    }

    /// Takes a new call, and goes on with it as far as its body is there.
    pub(super) fn open(
        &mut self,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        cx: &mut Context<'_>,
    ) {
        let (parts, stream) = request.into_parts();
        let head = match read_head(&parts) {
            Ok(head) => head,
            Err(refusal) => {
                self.shared.observer.call_refused();
                return note_gone(respond::refuse(respond, &refusal));
            }
        };
        let token = self.next_token;
        self.next_token += 1;
        let began = self.now;
        let deadline = head.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let call = Call { token, method: head.method, began, deadline };
        self.shared.observer.call_began();
        if self.receiving.len() + self.waiting.len() + self.streaming.len() >= MAX_CALLS {
            let status = Status::overloaded("too many calls are open on this connection");
            return self.fail(&call, respond, &status);
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, token));
        }
        let body = Body::new(stream, Rc::clone(&self.shared.receive_budget));
        match head.method {
            Method::Reflection => {
                let registry: Rc<Registry> = Rc::clone(&self.shared.registry);
                let reflection = Reflection { requests: body, registry };
                self.stream(call, respond, Streaming::Reflection(reflection));
            }
            Method::Get
            | Method::Set
            | Method::Delete
            | Method::List
            | Method::GetServers
            | Method::Status
            | Method::Leave
            | Method::TransferLeadership
            | Method::HealthCheck
            | Method::HealthWatch => self.receive(Receiving { call, body, respond }, cx),
        }
    }

    /// Goes on with the requests that were not complete.
    pub(super) fn poll_receiving(&mut self, cx: &mut Context<'_>) {
        for (_, receiving) in std::mem::take(&mut self.receiving) {
            self.receive(receiving, cx);
        }
    }

    /// Writes all answers that have come.
    pub(super) fn write_replies(&mut self) {
        let mut drained = std::mem::take(&mut self.drained);
        self.replies.drain_into(&mut drained);
        for (token, reply) in drained.drain(..) {
            if let Some(waiting) = self.waiting.remove(&token) {
                self.answer(waiting, reply);
            }
        }
        self.drained = drained;
    }

    /// Goes on with the answers that are streams.
    pub(super) fn poll_streaming(&mut self, cx: &mut Context<'_>) {
        for (token, mut sending) in std::mem::take(&mut self.streaming) {
            let Sending { streaming, outflow, .. } = &mut sending;
            let end = match self.draining && streaming.is_endless() {
                true => Poll::Ready(End::Finished(Err(Status::shutting_down()))),
                false => streaming.poll(outflow, &*self.shared.backend, &mut self.out, cx),
            };
            match end {
                Poll::Pending => {
                    self.streaming.insert(token, sending);
                }
                Poll::Ready(End::Finished(result)) => self.finish(sending, result),
                Poll::Ready(End::Gone) => self.end(&sending.call, CallEnd::Cancelled, Ok(())),
            }
        }
    }

    /// Ends the calls whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((deadline, token)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(receiving) = self.receiving.remove(&token) {
                // Nothing was begun yet, whatever the method.
                let status = Status::deadline_exceeded(Outcome::NotDone);
                self.fail(&receiving.call, receiving.respond, &status);
            } else if let Some(waiting) = self.waiting.remove(&token) {
                let status = late(&waiting.call);
                self.fail(&waiting.call, waiting.respond, &status);
            } else if let Some(sending) = self.streaming.remove(&token) {
                let status = late(&sending.call);
                self.finish(sending, Err(status));
            }
        }
    }

    /// From here on, calls that would never end are ended.
    pub(super) fn begin_drain(&mut self) {
        self.draining = true;
    }
}

/// The steps between the tables.
impl<B: Backend> Calls<B> {
    fn receive(&mut self, mut receiving: Receiving, cx: &mut Context<'_>) {
        let message = match receiving.body.poll_only_message(cx) {
            Poll::Pending => {
                self.receiving.insert(receiving.call.token, receiving);
                return;
            }
            Poll::Ready(message) => message,
        };
        let Receiving { call, respond, body } = receiving;
        drop(body);
        let incoming = match message {
            Ok(message) => convert::decode(call.method, message),
            Err(error) => match error.into_status() {
                Some(status) => Err(status),
                None => return self.end(&call, CallEnd::Cancelled, Ok(())),
            },
        };
        match incoming {
            Ok(Incoming::Backend(request)) => self.submit(call, respond, request),
            Ok(Incoming::Check { name, service }) => self.check(&call, respond, &name, service),
            Ok(Incoming::Watch(service)) => {
                let changes = self.shared.backend.health_changes();
                self.stream(
                    call,
                    respond,
                    Streaming::Watch(Watch { service, changes, told: None }),
                );
            }
            Err(status) => self.fail(&call, respond, &status),
        }
    }

    fn submit(&mut self, call: Call, respond: SendResponse<Bytes>, request: Request) {
        let key = match &request {
            Request::Get { key, .. } => key.clone(),
            Request::Set { .. }
            | Request::Delete { .. }
            | Request::List
            | Request::Servers
            | Request::Status
            | Request::Leave
            | Request::TransferLeadership { .. } => Bytes::new(),
        };
        let handle = self.replies.handle(call.token, request.outcome_if_lost());
        self.waiting.insert(call.token, Waiting { call, key, respond });
        self.shared.backend.submit(request, handle);
    }

    fn answer(&mut self, waiting: Waiting, reply: Reply) {
        let Waiting { call, key, respond } = waiting;
        match convert::encode(call.method, &key, reply, &mut self.out) {
            Ok(Outgoing::Message { head, shared }) => {
                let written = respond::succeed(respond, head, shared);
                self.end(&call, CallEnd::Succeeded, written);
            }
            Ok(Outgoing::List(receiver)) => self.stream(call, respond, Streaming::List(receiver)),
            Err(status) => self.fail(&call, respond, &status),
        }
    }

    fn check(
        &mut self,
        call: &Call,
        respond: SendResponse<Bytes>,
        name: &str,
        service: Option<HealthService>,
    ) {
        let Some(service) = service else {
            return self.fail(call, respond, &Status::unknown_health_service(name));
        };
        let serving = self.shared.backend.health(service);
        let message = convert::health_message(Some(serving), &mut self.out);
        let written = respond::succeed(respond, message, Bytes::new());
        self.end(call, CallEnd::Succeeded, written);
    }

    /// Begins to answer with a stream; its first messages follow in the same turn.
    fn stream(&mut self, call: Call, respond: SendResponse<Bytes>, streaming: Streaming) {
        match Outflow::start(respond) {
            Ok(outflow) => {
                self.streaming.insert(call.token, Sending { call, streaming, outflow });
            }
            Err(gone) => self.end(&call, CallEnd::Cancelled, Err(gone)),
        }
    }

    fn fail(&mut self, call: &Call, respond: SendResponse<Bytes>, status: &Status) {
        let written = respond::fail(respond, status);
        self.end(call, CallEnd::Failed(status.code), written);
    }

    fn finish(&mut self, sending: Sending, result: Result<(), Status>) {
        let end = CallEnd::of(&result);
        let written = sending.outflow.finish(result);
        self.end(&sending.call, end, written);
    }

    /// The call has left its table: its answer was written, or its client was gone.
    fn end(&mut self, call: &Call, end: CallEnd, written: Result<(), Gone>) {
        if let Some(deadline) = call.deadline {
            self.deadlines.remove(&(deadline, call.token));
        }
        let end = if written.is_ok() { end } else { CallEnd::Cancelled };
        note_gone(written);
        self.count_end(call, end);
    }
}

impl<B> Calls<B> {
    fn count_end(&self, call: &Call, end: CallEnd) {
        let took = self.now.saturating_duration_since(call.began);
        self.shared.observer.call_ended(call.method, end, took);
    }
}

impl<B> Drop for Calls<B> {
    fn drop(&mut self) {
        self.replies.close();
        let receiving = self.receiving.values().map(|receiving| &receiving.call);
        let waiting = self.waiting.values().map(|waiting| &waiting.call);
        let streaming = self.streaming.values().map(|sending| &sending.call);
        for call in receiving.chain(waiting).chain(streaming) {
            self.count_end(call, CallEnd::Cancelled);
        }
    }
}

fn late(call: &Call) -> Status {
    Status::deadline_exceeded(call.method.outcome_if_late())
}

/// That a client is gone before its answer is as good an end as any.
fn note_gone(result: Result<(), Gone>) {
    if let Err(Gone) = result {
        tracing::trace!("a client was gone before its answer");
    }
}
