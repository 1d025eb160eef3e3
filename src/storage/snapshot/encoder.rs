//! Items in, frames out.

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{FULL_PAYLOAD_BYTES, FrameKind, FrameWriter};
use super::{ITEM_HEADER_BYTES, VERSION};
use crate::types::{ClusterId, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, SnapshotMeta};

/// Makes the bytes of a snapshot, a frame at a time. All pieces together, in the order in which
/// they came out, are the file; each has whole blocks.
#[derive(Debug)]
pub struct SnapshotEncoder {
    frames: FrameWriter,
    /// The header, until the first piece goes out.
    ready: BytesMut,
    payload: BytesMut,
    count: u32,
    items: u64,
}

impl SnapshotEncoder {
    /// A snapshot of `cluster`'s map at `meta.index`.
    #[must_use]
    pub fn new(cluster: ClusterId, meta: &SnapshotMeta) -> SnapshotEncoder {
        let mut header = BytesMut::new();
        header.put_u32_le(VERSION);
        header.put_u64_le(cluster.0);
        header.put_u64_le(meta.index.0);
        header.put_u64_le(meta.term.0);
        header.put_u64_le(meta.revision.0);
        meta.configuration.encode(&mut header);
        let mut frames = FrameWriter::new();
        let ready = BytesMut::from(&frames.write(FrameKind::Header, 0, &header)[..]);
        SnapshotEncoder { frames, ready, payload: BytesMut::new(), count: 0, items: 0 }
    }

    /// Adds an item; every 256 KiB or so, a piece of the file comes out.
    #[must_use]
    pub fn push(&mut self, key: &[u8], value: &[u8], revision: Revision) -> Option<Bytes> {
        let within = (1..=MAX_KEY_BYTES).contains(&key.len()) && value.len() <= MAX_VALUE_BYTES;
        assert!(within, "an item outside the limits is in the map");
        self.payload.reserve(ITEM_HEADER_BYTES + key.len() + value.len());
        self.payload.put_u16_le(key.len() as u16);
        self.payload.put_u32_le(value.len() as u32);
        self.payload.put_u64_le(revision.0);
        self.payload.put_slice(key);
        self.payload.put_slice(value);
        self.count += 1;
        self.items += 1;
        if self.payload.len() < FULL_PAYLOAD_BYTES {
            return None;
        }
        self.close_frame();
        Some(self.ready.split().freeze())
    }

    /// The last piece of the file.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        if self.count > 0 {
            self.close_frame();
        }
        let footer = self.frames.write(FrameKind::Footer, 0, &self.items.to_le_bytes());
        self.ready.extend_from_slice(&footer);
        self.ready.freeze()
    }

    fn close_frame(&mut self) {
        let frame = self.frames.write(FrameKind::Items, self.count, &self.payload);
        self.ready.extend_from_slice(&frame);
        self.payload.clear();
        self.count = 0;
    }
}
