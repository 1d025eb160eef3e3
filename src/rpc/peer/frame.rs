//! Frames: how messages are told apart on a stream of bytes.
//!
//! ```text
//!  0        4        8
//!  +--------+--------+----------------+
//!  | length | crc32  | body ...       |      integers are little-endian
//!  +--------+--------+----------------+
//!     u32      u32     length bytes
//! ```
//!
//! `crc32` covers the body. An empty body is a keepalive on a link. The reader knows the largest
//! body that may come next and refuses a longer one before it makes room for it; a frame that fails
//! any check ends the connection, because nothing behind it can be trusted.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

/// The longest body of any frame, in bytes: twice the largest entry, so that one and its message
/// always fit.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

/// The bytes of a frame before its body.
pub(super) const HEADER_BYTES: usize = 8;

/// A frame with an empty body; the checksum of nothing is 0.
pub(super) const KEEPALIVE: [u8; HEADER_BYTES] = [0; HEADER_BYTES];

/// How many bytes are asked of the socket at once. Bodies share this buffer, so it is also how much
/// memory the smallest message can hold on to.
const READ_BUFFER_BYTES: usize = 128 << 10;

/// Why bytes are not frames.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    /// The length is over what may come now.
    #[error("a frame of {length} bytes came where {limit} is the limit")]
    Length {
        /// What the header says.
        length: usize,
        /// The longest body that is accepted at this point.
        limit: usize,
    },
    /// The body does not match its checksum.
    #[error("a frame's checksum is {found:08x}, its bytes make {computed:08x}")]
    Checksum {
        /// In the header.
        found: u32,
        /// Of the body.
        computed: u32,
    },
}

/// Appends a frame whose body is what `write` appends, and returns the body's length.
///
/// # Panics
/// When the body is over [`MAX_FRAME_BYTES`], or `write` took bytes away: whoever builds messages
/// bounds them.
pub(super) fn append(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> usize {
    let start = out.len();
    out.put_slice(&KEEPALIVE);
    write(out);
    let body = out.get(start + HEADER_BYTES..).expect("a writer of a frame only appends");
    let (length, crc) = (body.len(), crc32fast::hash(body));
    assert!(length <= MAX_FRAME_BYTES, "a message of {length} bytes is over the limit of a frame");
    out[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    length
}

/// One frame by itself, whose body is what `write` appends.
pub(super) fn built(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    append(&mut out, write);
    out
}

/// Cuts received bytes into frames, without copying bodies that came in one buffer.
///
/// ```text
///  buffer:  | filled: received, not yet cut off | room: asked of the socket next |
/// ```
#[derive(Debug)]
pub(super) struct FrameReader {
    /// Always initialised in full, so that a socket can read into any of it.
    buffer: BytesMut,
    /// How many bytes at the front of `buffer` were received. Never more than its length.
    filled: usize,
    /// The longest body that is accepted next.
    limit_bytes: usize,
}

impl FrameReader {
    /// A reader that accepts bodies of up to `limit_bytes`.
    pub(super) fn new(limit_bytes: usize) -> FrameReader {
        let mut reader = FrameReader { buffer: BytesMut::new(), filled: 0, limit_bytes: 0 };
        reader.set_limit(limit_bytes);
        reader
    }

    /// Accepts bodies of up to `limit_bytes` from here on.
    pub(super) fn set_limit(&mut self, limit_bytes: usize) {
        assert!(limit_bytes <= MAX_FRAME_BYTES, "{limit_bytes} is over the limit of any frame");
        self.limit_bytes = limit_bytes;
    }

    /// Where to receive to; never empty. Call [`next_frame`](FrameReader::next_frame) until it has
    /// none before asking for more.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let chunk = READ_BUFFER_BYTES.min(HEADER_BYTES + self.limit_bytes);
        let missing = self.missing_bytes();
        // A sliver at the end of the buffer is given up rather than read into: small reads cost
        // more.
        let least = missing.max(chunk / 16);
        if self.buffer.len() - self.filled < least {
            let mut larger = BytesMut::zeroed(chunk.max(self.filled + missing));
            larger[..self.filled].copy_from_slice(&self.buffer[..self.filled]);
            self.buffer = larger;
        }
        &mut self.buffer[self.filled..]
    }

    /// Takes note that `count` bytes were received into [`room`](FrameReader::room).
    pub(super) fn received(&mut self, count: usize) {
        self.filled += count;
        assert!(self.filled <= self.buffer.len(), "more was received than there was room for");
    }

    /// The next whole body, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no frame. The reader is then of no more use.
    pub(super) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some((length, found)) = self.header() else { return Ok(None) };
        if length > self.limit_bytes {
            return Err(FrameError::Length { length, limit: self.limit_bytes });
        }
        if self.filled < HEADER_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEADER_BYTES + length);
        self.filled -= frame.len();
        let body = frame.split_off(HEADER_BYTES).freeze();
        let computed = crc32fast::hash(&body);
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        Ok(Some(body))
    }

    /// Whether a frame has begun to arrive.
    pub(super) fn is_amid_frame(&self) -> bool {
        self.filled > 0
    }

    /// How many more bytes the current frame needs, as far as is known; the length was checked.
    fn missing_bytes(&self) -> usize {
        let needed = self.header().map_or(HEADER_BYTES, |(length, _)| {
            assert!(length <= self.limit_bytes, "room is asked for before the frame was checked");
            HEADER_BYTES + length
        });
        needed.saturating_sub(self.filled)
    }

    fn header(&self) -> Option<(usize, u32)> {
        let header = self.buffer[..self.filled].first_chunk::<HEADER_BYTES>()?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        Some((u32::from_le_bytes([l0, l1, l2, l3]) as usize, u32::from_le_bytes([c0, c1, c2, c3])))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn whole(body: &[u8]) -> BytesMut {
        built(|out| out.put_slice(body))
    }

    /// Feeds `bytes` in pieces whose sizes cycle through `pieces`; stops at the first error.
    fn read_all(
        reader: &mut FrameReader,
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> Result<Vec<Bytes>, FrameError> {
        let mut bodies = Vec::new();
        let mut pieces = pieces.iter().cycle();
        while !bytes.is_empty() {
            let room = reader.room();
            assert!(!room.is_empty());
            let piece = pieces.next().map_or(bytes.len(), |piece| (*piece).max(1));
            let count = piece.min(bytes.len()).min(room.len());
            room[..count].copy_from_slice(&bytes[..count]);
            reader.received(count);
            bytes = &bytes[count..];
            while let Some(body) = reader.next_frame()? {
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    #[test]
    fn a_keepalive_is_a_whole_frame_of_nothing() {
        assert_eq!(whole(b"")[..], KEEPALIVE);
        let mut reader = FrameReader::new(0);
        assert_eq!(read_all(&mut reader, &KEEPALIVE, &[]), Ok(vec![Bytes::new()]));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_any_room_is_made() {
        let mut reader = FrameReader::new(100);
        let claim = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let refused = FrameError::Length { length: u32::MAX as usize, limit: 100 };
        assert_eq!(read_all(&mut reader, &claim, &[]), Err(refused));
        assert!(reader.buffer.capacity() <= 2 * (HEADER_BYTES + 100));
    }

    #[test]
    fn a_frame_longer_than_the_read_buffer_gets_a_buffer_of_its_own() {
        let body: Vec<u8> = (0..3 * READ_BUFFER_BYTES).map(|i| (i % 251) as u8).collect();
        let mut stream = whole(&body);
        stream.put_slice(&whole(b"next"));
        let mut reader = FrameReader::new(MAX_FRAME_BYTES);
        let bodies = read_all(&mut reader, &stream, &[]).expect("both frames are whole");
        assert_eq!(bodies, vec![Bytes::from(body), Bytes::from_static(b"next")]);
        assert!(!reader.is_amid_frame());
    }

    #[test]
    fn bodies_of_one_read_share_its_buffer() {
        let mut stream = whole(b"first");
        stream.put_slice(&whole(b"second"));
        let bodies = read_all(&mut FrameReader::new(100), &stream, &[]).expect("two frames");
        let between = bodies[1].as_ptr() as usize - bodies[0].as_ptr() as usize;
        assert_eq!(between, b"first".len() + HEADER_BYTES);
    }

    proptest! {
        #[test]
        fn frames_survive_any_split_of_the_stream(
            bodies in vec(vec(any::<u8>(), 0..300), 0..20),
            pieces in vec(1usize..400, 1..8),
        ) {
            let mut stream = BytesMut::new();
            for body in &bodies {
                append(&mut stream, |out| out.put_slice(body));
            }
            let read = read_all(&mut FrameReader::new(300), &stream, &pieces);
            prop_assert_eq!(read, Ok(bodies.into_iter().map(Bytes::from).collect()));
        }

        #[test]
        fn a_flipped_bit_never_passes_as_the_frame_that_was_sent(
            body in vec(any::<u8>(), 1..64),
            bit in 0usize..576,
        ) {
            let mut stream = whole(&body);
            let bit = bit % (stream.len() * 8);
            stream[bit / 8] ^= 1 << (bit % 8);
            let read = read_all(&mut FrameReader::new(64), &stream, &[]);
            prop_assert_ne!(read, Ok(vec![Bytes::from(body)]));
        }

        #[test]
        fn garbage_never_panics(
            bytes in vec(any::<u8>(), 0..200),
            pieces in vec(1usize..50, 1..4),
        ) {
            let _ = read_all(&mut FrameReader::new(64), &bytes, &pieces);
        }
    }
}
