//! gRPC's message framing, put together from DATA frames that may cut it anywhere.
//!
//! ```text
//!  +------------+-----------------+-------------+
//!  | compressed | length          | message ... |     repeated, back to back
//!  +------------+-----------------+-------------+
//!     u8, 0 or 1    u32 big-endian    `length` bytes
//! ```
//!
//! A message that one DATA frame holds whole, as nearly all do, is handed out without a copy.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::types::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// The bytes before each message.
pub(super) const PREFIX_BYTES: usize = 5;

/// The largest message that is accepted: the longest key and value, and as much again for fields
/// that a later version may add.
pub const MAX_MESSAGE_BYTES: usize = 2 * (MAX_KEY_BYTES + MAX_VALUE_BYTES);

/// Why a request's body is not a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    /// The length in the prefix is over [`MAX_MESSAGE_BYTES`]; the message itself was not read.
    #[error("the message has {0} bytes, {MAX_MESSAGE_BYTES} are allowed")]
    TooLarge(usize),
    /// The compressed flag is set, and no `grpc-encoding` was agreed on.
    #[error("the message is marked compressed, and the call names no grpc-encoding")]
    Compressed,
    /// A flag byte other than 0 and 1.
    #[error("the message begins with the flag byte {0}, it must be 0")]
    Flag(u8),
    /// The body ended inside a message.
    #[error("the body ends inside a message")]
    Truncated,
    /// A call that takes one message got none.
    #[error("the body holds no message, this call takes one")]
    Missing,
    /// A call that takes one message got more.
    #[error("the body holds more than one message, this call takes one")]
    Surplus,
}

/// Collects the bytes of a body and hands out the messages in it.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// The latest DATA frame, while nothing older is left over. Empty unless `partial` is empty.
    fresh: Bytes,
    /// The beginning of a message that several DATA frames hold.
    partial: BytesMut,
}

impl Assembler {
    /// Takes the payload of the next DATA frame.
    pub(super) fn push(&mut self, data: Bytes) {
        if self.fresh.is_empty() && self.partial.is_empty() {
            self.fresh = data;
            return;
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.fresh));
        self.partial.extend_from_slice(&data);
    }

    /// The next message without its prefix; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the prefix is not acceptable. The body cannot be read on after that.
    pub(super) fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.announced_bytes()? else { return Ok(None) };
        if self.buffered_bytes() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let mut message = match self.partial.is_empty() {
            true => self.fresh.split_to(PREFIX_BYTES + length),
            false => self.partial.split_to(PREFIX_BYTES + length).freeze(),
        };
        message.advance(PREFIX_BYTES);
        Ok(Some(message))
    }

    /// How many bytes wait here for the rest of their message.
    #[must_use]
    pub(super) fn buffered_bytes(&self) -> usize {
        self.fresh.len() + self.partial.len()
    }

    /// The length in the prefix at hand, once all of the prefix is.
    fn announced_bytes(&self) -> Result<Option<usize>, FrameError> {
        let mut bytes: &[u8] = if self.partial.is_empty() { &self.fresh } else { &self.partial };
        if bytes.len() < PREFIX_BYTES {
            return Ok(None);
        }
        match bytes.get_u8() {
            0 => {}
            1 => return Err(FrameError::Compressed),
            flag => return Err(FrameError::Flag(flag)),
        }
        let length = bytes.get_u32() as usize;
        if length > MAX_MESSAGE_BYTES {
            Err(FrameError::TooLarge(length))
        } else {
            Ok(Some(length))
        }
    }
}

/// Writes the prefix of a message of `length` bytes, which the caller appends.
///
/// # Panics
/// When the length does not fit 32 bits: answers are bounded far below that.
pub(super) fn put_prefix(out: &mut BytesMut, length: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("an answer is bounded far below 4 GiB"));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Bytes {
        let mut out = BytesMut::new();
        for message in messages {
            put_prefix(&mut out, message.len());
            out.put_slice(message);
        }
        out.freeze()
    }

    #[test]
    fn a_message_in_one_frame_is_not_copied() {
        let body = framed(&[b"hello".to_vec()]);
        let mut assembler = Assembler::default();
        assembler.push(body.clone());
        let message = assembler.next_message().unwrap().unwrap();
        assert_eq!(message, "hello");
        assert_eq!(message.as_ptr(), body[PREFIX_BYTES..].as_ptr());
        assert_eq!(assembler.buffered_bytes(), 0);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut assembler = Assembler::default();
        assembler.push(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(assembler.next_message(), Err(FrameError::TooLarge(0xffff_ffff)));
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut assembler = Assembler::default();
        assembler.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(assembler.next_message(), Err(FrameError::Compressed));
    }

    proptest! {
        #[test]
        fn any_split_of_a_body_gives_the_same_messages(
            messages in vec(vec(any::<u8>(), 0..40), 0..6),
            cuts in vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut rest = framed(&messages);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(rest.len() + 1)).collect();
            cuts.sort_unstable();
            let mut assembler = Assembler::default();
            let mut read = Vec::new();
            let mut taken = 0;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let end = cut.min(taken + rest.len());
                assembler.push(rest.split_to(end - taken));
                taken = end;
                while let Some(message) = assembler.next_message().unwrap() {
                    read.push(message.to_vec());
                }
            }
            prop_assert_eq!(read, messages);
            prop_assert_eq!(assembler.buffered_bytes(), 0);
        }

        #[test]
        fn garbage_never_panics(frames in vec(vec(any::<u8>(), 0..20), 0..6)) {
            let mut assembler = Assembler::default();
            for frame in frames {
                assembler.push(Bytes::from(frame));
                while let Ok(Some(_)) = assembler.next_message() {}
            }
        }
    }
}
