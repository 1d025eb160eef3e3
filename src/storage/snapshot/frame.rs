//! Frames: the checked envelopes of a snapshot file. Their layout is drawn in the module above.

use bytes::{BufMut, Bytes, BytesMut};

use super::{ITEM_HEADER_BYTES, SnapshotError};
use crate::storage::op::BLOCK_BYTES;
use crate::types::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// No frame is larger, zeros included; whoever reads one needs no larger buffer.
pub const MAX_FRAME_BYTES: usize = 2 << 20;

/// A frame of items is closed when its payload has reached this size.
pub(super) const FULL_PAYLOAD_BYTES: usize = 256 << 10;

pub(super) const FRAME_HEADER_BYTES: usize = 24;
const MAGIC: u32 = 0x6e73_6b6d; // "mksn"

const _: () = assert!(
    FRAME_HEADER_BYTES
        + FULL_PAYLOAD_BYTES
        + ITEM_HEADER_BYTES
        + MAX_KEY_BYTES
        + MAX_VALUE_BYTES
        + BLOCK_BYTES
        <= MAX_FRAME_BYTES
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Header = 1,
    Items = 2,
    Footer = 3,
}

/// A frame whose checksum is right.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    /// How many items a frame of items holds.
    pub(super) count: u32,
    pub(super) payload: Bytes,
}

/// Writes frames one after another.
#[derive(Debug)]
pub(super) struct FrameWriter {
    number: u32,
    chain: u32,
}

/// Reads frames one after another out of bytes that come in pieces.
#[derive(Debug)]
pub(super) struct FrameReader {
    /// Less than one frame whenever [`next_frame`](FrameReader::next_frame) said that there is
    /// none.
    buffer: BytesMut,
    number: u32,
    chain: u32,
}

impl FrameWriter {
    pub(super) fn new() -> FrameWriter {
        FrameWriter { number: 0, chain: 0 }
    }

    pub(super) fn write(&mut self, kind: FrameKind, count: u32, payload: &[u8]) -> Bytes {
        self.write_raw(kind as u32, count, payload)
    }

    /// Also what tests use to write frames of kinds that there are not.
    pub(super) fn write_raw(&mut self, kind: u32, count: u32, payload: &[u8]) -> Bytes {
        let len = FRAME_HEADER_BYTES + payload.len();
        let padded = len.next_multiple_of(BLOCK_BYTES);
        assert!(padded <= MAX_FRAME_BYTES, "a frame of {padded} bytes is over the limit");
        let mut frame = BytesMut::with_capacity(padded);
        frame.put_u32_le(0);
        frame.put_u32_le(MAGIC);
        frame.put_u32_le(kind);
        frame.put_u32_le(self.number);
        frame.put_u32_le(payload.len() as u32);
        frame.put_u32_le(count);
        frame.put_slice(payload);
        self.chain = chained(self.chain, &frame[4..]);
        frame[0..4].copy_from_slice(&self.chain.to_le_bytes());
        frame.put_bytes(0, padded - len);
        self.number = self.number.checked_add(1).expect("a snapshot has fewer than 2^32 frames");
        frame.freeze()
    }
}

impl FrameReader {
    pub(super) fn new() -> FrameReader {
        FrameReader { buffer: BytesMut::new(), number: 0, chain: 0 }
    }

    /// The number of the next frame.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether bytes of a next frame have come.
    pub(super) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        assert!(self.buffer.len() <= MAX_FRAME_BYTES, "take the parts before feeding more");
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, when all its bytes have come.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, SnapshotError> {
        let damaged = SnapshotError::Frame { number: self.number };
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let u32_at = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("inside"));
        let (crc, kind, count) = (u32_at(0), u32_at(8), u32_at(20));
        let len = FRAME_HEADER_BYTES + u32_at(16) as usize;
        let padded = len.next_multiple_of(BLOCK_BYTES);
        if u32_at(4) != MAGIC || u32_at(12) != self.number || padded > MAX_FRAME_BYTES {
            return Err(damaged);
        }
        if self.buffer.len() < padded {
            return Ok(None);
        }
        let frame = self.buffer.split_to(padded).freeze();
        let zeros = frame[len..].iter().all(|byte| *byte == 0);
        let is_sound = crc == chained(self.chain, &frame[4..len]) && zeros;
        if !is_sound && !planted!(SnapshotChecksumUnchecked) {
            return Err(damaged);
        }
        let kind = match kind {
            1 => FrameKind::Header,
            2 => FrameKind::Items,
            3 => FrameKind::Footer,
            _ => return Err(SnapshotError::Content { number: self.number }),
        };
        self.chain = crc;
        self.number = self.number.checked_add(1).ok_or(damaged)?;
        Ok(Some(Frame { kind, count, payload: frame.slice(FRAME_HEADER_BYTES..len) }))
    }
}

fn chained(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}
