//! Bytes in, verified items out.

use bytes::{Buf, Bytes};

use super::frame::{Frame, FrameKind, FrameReader};
use super::{ITEM_HEADER_BYTES, SnapshotError, VERSION};
use crate::storage::op::{Disk, FileName};
use crate::storage::recovery::RecoveryError;
use crate::types::{
    ClusterId, Configuration, Index, MAX_KEY_BYTES, MAX_VALUE_BYTES, Revision, SnapshotMeta, Term,
};

/// How much of a file is read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Reads a snapshot that comes in pieces of any size. After each piece, take parts until there is
/// none.
///
/// An item is given out as soon as its frame is verified, before the footer vouches for the whole:
/// build a new map of them, and put it in the old one's place only after
/// [`finish`](SnapshotDecoder::finish).
#[derive(Debug)]
pub struct SnapshotDecoder {
    frames: FrameReader,
    header: Option<(ClusterId, SnapshotMeta)>,
    items: u64,
    finished: bool,
}

/// A verified part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPart {
    /// The first part.
    Header {
        /// The cluster whose map it is.
        cluster: ClusterId,
        /// Where in the log it stands.
        meta: SnapshotMeta,
    },
    /// Some items.
    Items(Vec<SnapshotItem>),
    /// The last part.
    Footer,
}

/// A key and what the map holds for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotItem {
    /// 1 to [`MAX_KEY_BYTES`] bytes.
    pub key: Bytes,
    /// 0 to [`MAX_VALUE_BYTES`] bytes.
    pub value: Bytes,
    /// Of the write that set it.
    pub revision: Revision,
}

/// What a whole, verified snapshot was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The cluster whose map it is.
    pub cluster: ClusterId,
    /// Where in the log it stands.
    pub meta: SnapshotMeta,
    /// How many items it has.
    pub items: u64,
}

/// Reads and verifies a whole snapshot file at start, giving each item to `each`.
///
/// # Errors
/// When the disk won't read, or the file is damaged; some items may have been given out by then.
pub fn read_snapshot(
    disk: &impl Disk,
    file: FileName,
    mut each: impl FnMut(SnapshotItem),
) -> Result<SnapshotSummary, RecoveryError> {
    let damaged = |source| RecoveryError::Snapshot { file, source };
    let mut decoder = SnapshotDecoder::new();
    let mut offset = 0;
    loop {
        let piece = disk
            .read_at(file, offset, PIECE_BYTES)
            .map_err(|source| RecoveryError::Read { file, source })?;
        if piece.is_empty() {
            return decoder.finish().map_err(damaged);
        }
        offset += piece.len() as u64;
        decoder.feed(&piece);
        while let Some(part) = decoder.next_part().map_err(damaged)? {
            match part {
                SnapshotPart::Items(items) => items.into_iter().for_each(&mut each),
                SnapshotPart::Header { .. } | SnapshotPart::Footer => {}
            }
        }
    }
}

/// Reads the header at the front of a snapshot file.
pub(in crate::storage) fn read_header(
    front: &[u8],
) -> Result<(ClusterId, SnapshotMeta), SnapshotError> {
    let mut decoder = SnapshotDecoder::new();
    decoder.feed(front);
    match decoder.next_part()? {
        Some(SnapshotPart::Header { cluster, meta }) => Ok((cluster, meta)),
        Some(SnapshotPart::Items(_) | SnapshotPart::Footer) => {
            Err(SnapshotError::Content { number: 0 })
        }
        None => Err(SnapshotError::Unfinished { frames: 0 }),
    }
}

impl Default for SnapshotDecoder {
    fn default() -> SnapshotDecoder {
        SnapshotDecoder::new()
    }
}

impl SnapshotDecoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new() -> SnapshotDecoder {
        SnapshotDecoder { frames: FrameReader::new(), header: None, items: 0, finished: false }
    }

    /// Adds the next bytes of the file.
    ///
    /// # Panics
    /// When the parts of the bytes before were not taken.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.frames.feed(bytes);
    }

    /// The next part, or `None` until more bytes come.
    ///
    /// # Errors
    /// When the bytes are not a snapshot; there is no use in going on.
    pub fn next_part(&mut self) -> Result<Option<SnapshotPart>, SnapshotError> {
        if self.finished && self.frames.has_more() {
            return Err(SnapshotError::Trailing);
        }
        let number = self.frames.number();
        let Some(frame) = self.frames.next_frame()? else { return Ok(None) };
        let nonsense = SnapshotError::Content { number };
        if (frame.kind == FrameKind::Header) != self.header.is_none() {
            return Err(nonsense);
        }
        let part = match frame.kind {
            FrameKind::Header => self.read_header(frame, nonsense)?,
            FrameKind::Items => {
                let items = read_items(frame).ok_or(nonsense)?;
                self.items += items.len() as u64;
                SnapshotPart::Items(items)
            }
            FrameKind::Footer => self.read_footer(frame, nonsense)?,
        };
        Ok(Some(part))
    }

    /// Confirms that the whole snapshot was read.
    ///
    /// # Errors
    /// When bytes are missing at the end, or there are too many.
    pub fn finish(self) -> Result<SnapshotSummary, SnapshotError> {
        let (true, Some((cluster, meta))) = (self.finished, self.header) else {
            return Err(SnapshotError::Unfinished { frames: self.frames.number() });
        };
        if self.frames.has_more() {
            return Err(SnapshotError::Trailing);
        }
        Ok(SnapshotSummary { cluster, meta, items: self.items })
    }

    fn read_header(
        &mut self,
        frame: Frame,
        nonsense: SnapshotError,
    ) -> Result<SnapshotPart, SnapshotError> {
        let mut payload = frame.payload;
        let version = payload.try_get_u32_le().map_err(|_| nonsense)?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let mut number = || payload.try_get_u64_le().map_err(|_| nonsense);
        let cluster = ClusterId(number()?);
        let (index, term) = (Index(number()?), Term(number()?));
        let revision = Revision(number()?);
        let configuration = Configuration::decode(payload).map_err(|_| nonsense)?;
        let meta = SnapshotMeta { index, term, revision, configuration };
        self.header = Some((cluster, meta.clone()));
        Ok(SnapshotPart::Header { cluster, meta })
    }

    fn read_footer(
        &mut self,
        frame: Frame,
        nonsense: SnapshotError,
    ) -> Result<SnapshotPart, SnapshotError> {
        let said: &[u8; 8] = frame.payload[..].try_into().map_err(|_| nonsense)?;
        let said = u64::from_le_bytes(*said);
        if said != self.items {
            return Err(SnapshotError::Count { said, found: self.items });
        }
        self.finished = true;
        Ok(SnapshotPart::Footer)
    }
}

/// The items of a frame; `None` when they are not as many as it says, or reach past its end.
fn read_items(frame: Frame) -> Option<Vec<SnapshotItem>> {
    let mut rest = frame.payload;
    let mut items = Vec::new();
    while rest.len() >= ITEM_HEADER_BYTES {
        let key_bytes = usize::from(rest.get_u16_le());
        let value_bytes = rest.get_u32_le() as usize;
        let revision = Revision(rest.get_u64_le());
        let within = (1..=MAX_KEY_BYTES).contains(&key_bytes) && value_bytes <= MAX_VALUE_BYTES;
        if !within || rest.len() < key_bytes + value_bytes {
            return None;
        }
        let (key, value) = (rest.split_to(key_bytes), rest.split_to(value_bytes));
        items.push(SnapshotItem { key, value, revision });
    }
    (rest.is_empty() && items.len() == frame.count as usize).then_some(items)
}
