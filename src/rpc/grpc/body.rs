//! Reads the messages of one request's body.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use thiserror::Error;

use super::framing::{Assembler, FrameError, MAX_MESSAGE_BYTES};
use super::status::Status;

/// The bytes of half-received messages on one executor, and how many there may be.
///
/// HTTP/2's windows bound what is in flight, not what a server keeps while it waits for the rest of
/// many large messages; this does.
#[derive(Debug)]
pub(super) struct ReceiveBudget {
    used_bytes: Cell<usize>,
    max_bytes: usize,
}

/// A request's body.
pub(super) struct Body {
    stream: RecvStream,
    assembler: Assembler,
    /// The message of a call that takes one, kept until the body ends.
    only: Option<Bytes>,
    budget: Rc<ReceiveBudget>,
    /// How much of the budget this body holds.
    charged_bytes: usize,
}

/// Why a body gives no message.
#[derive(Debug, Error)]
pub(super) enum BodyError {
    /// The client broke the framing.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Too many large messages come in at once.
    #[error("too many bytes of unfinished messages")]
    Budget,
    /// The client cancelled the call, or the connection is gone: there is nobody to tell.
    #[error("the client is gone")]
    Gone,
}

impl ReceiveBudget {
    pub(super) fn new(max_bytes: usize) -> ReceiveBudget {
        ReceiveBudget { used_bytes: Cell::new(0), max_bytes }
    }
}

impl Body {
    pub(super) fn new(stream: RecvStream, budget: Rc<ReceiveBudget>) -> Body {
        Body { stream, assembler: Assembler::default(), only: None, budget, charged_bytes: 0 }
    }

    /// The message of a call that takes exactly one, once the body has ended.
    pub(super) fn poll_only_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, BodyError>> {
        loop {
            if self.only.is_none() {
                self.only = self.assembler.next_message()?;
            }
            if self.only.is_some() && self.assembler.buffered_bytes() > 0 {
                return Poll::Ready(Err(FrameError::Surplus.into()));
            }
            // Nearly always the END_STREAM flag came with the message.
            if self.stream.is_end_stream() || !ready!(self.poll_frame(cx))? {
                return Poll::Ready(self.only.take().ok_or_else(|| self.missing()));
            }
        }
    }

    /// The next message of a call that takes a stream of them; `None` after the last.
    pub(super) fn poll_next_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            if let Some(message) = self.assembler.next_message()? {
                return Poll::Ready(Ok(Some(message)));
            }
            if !ready!(self.poll_frame(cx))? {
                return Poll::Ready(match self.assembler.buffered_bytes() {
                    0 => Ok(None),
                    _ => Err(FrameError::Truncated.into()),
                });
            }
        }
    }

    /// Takes the next DATA frame; false at the end of the body.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, BodyError>> {
        let polled = self.stream.poll_data(cx);
        if polled.is_pending() {
            self.charge()?;
        }
        let Some(data) = ready!(polled) else { return Poll::Ready(Ok(false)) };
        let data = data.map_err(|_| BodyError::Gone)?;
        // At once, for every frame: a message may be larger than what is left of a window, and
        // the budget bounds what is kept.
        self.stream.flow_control().release_capacity(data.len()).map_err(|_| BodyError::Gone)?;
        self.assembler.push(data);
        Poll::Ready(Ok(true))
    }

    /// Counts what is kept while the body waits for more.
    fn charge(&mut self) -> Result<(), BodyError> {
        let kept_bytes = self.assembler.buffered_bytes() + self.only.as_ref().map_or(0, Bytes::len);
        let used_bytes = self.budget.used_bytes.get() - self.charged_bytes + kept_bytes;
        let grows = kept_bytes > self.charged_bytes;
        if grows && used_bytes > self.budget.max_bytes {
            return Err(BodyError::Budget);
        }
        self.budget.used_bytes.set(used_bytes);
        self.charged_bytes = kept_bytes;
        Ok(())
    }

    fn missing(&self) -> BodyError {
        match self.assembler.buffered_bytes() {
            0 => FrameError::Missing.into(),
            _ => FrameError::Truncated.into(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.used_bytes.set(self.budget.used_bytes.get() - self.charged_bytes);
    }
}

impl BodyError {
    /// What to tell the client; `None` where it is gone.
    pub(super) fn into_status(self) -> Option<Status> {
        match self {
            BodyError::Frame(FrameError::TooLarge(message_bytes)) => {
                Some(Status::message_too_large(message_bytes, MAX_MESSAGE_BYTES))
            }
            BodyError::Frame(error) => Some(Status::protocol_violation(error)),
            BodyError::Budget => {
                Some(Status::overloaded("too many large messages come in at once"))
            }
            BodyError::Gone => None,
        }
    }
}
