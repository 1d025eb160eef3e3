//! Snapshots between the map and the disk: taking one, sending one, checking and loading one.
//!
//! Taking one costs the map nothing but the slots that change meanwhile: the shards keep a frozen
//! view at the cut, and its pages are encoded and written while writes go on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use glommio::timer::Timer;

use super::disk::GlommioDisk;
use super::envelope::{Envelope, ShardWork};
use super::fence::{execute, fence};
use super::mesh::Post;
use super::metrics::Metrics;
use super::view::{ViewReader, Views};
use crate::raft::MAX_SNAPSHOT_CHUNK_BYTES;
use crate::storage::{
    FileName, SnapshotDecoder, SnapshotEncoder, SnapshotError, SnapshotItem, SnapshotPart,
    SnapshotSource, Storage,
};
use crate::types::{Index, SnapshotMeta};

/// After each piece of its own snapshot, a server pauses for this many times as long as the writing
/// took: when the disk is slow, the log needs it more.
const PAUSE_FACTOR: u32 = 2;

/// Works with this server's snapshots.
pub(super) struct Snapshotter {
    post: Rc<Post>,
    views: Rc<Views>,
    storage: Rc<RefCell<Storage>>,
    disk: Rc<GlommioDisk>,
    metrics: Arc<Metrics>,
}

impl Snapshotter {
    pub(super) fn new(
        post: Rc<Post>,
        views: Rc<Views>,
        storage: Rc<RefCell<Storage>>,
        disk: Rc<GlommioDisk>,
        metrics: Arc<Metrics>,
    ) -> Snapshotter {
        Snapshotter { post, views, storage, disk, metrics }
    }

    /// Expects a frozen view, which the caller asks the shards for at the cut.
    pub(super) fn expect_view(&self) -> ViewReader {
        self.views.expect()
    }

    /// Writes the view as the snapshot `meta` and makes it durable; returns its size in bytes.
    pub(super) async fn write(&self, view: &ViewReader, meta: SnapshotMeta) -> u64 {
        let (source, started) = (SnapshotSource::Local, Instant::now());
        view.frozen().await.expect("the shards freeze whatever they are asked to");
        let cluster = self.storage.borrow().identity().cluster;
        let cluster = cluster.expect("only a member of a cluster commits entries");
        let mut encoder = SnapshotEncoder::new(cluster, &meta);
        let ops = self.storage.borrow_mut().snapshot_begin(source, meta.index);
        execute(&self.disk, ops).await;
        let mut offset = 0;
        while let Some(page) = view.next_page().await {
            for SnapshotItem { key, value, revision } in page {
                if let Some(piece) = encoder.push(&key, &value, revision) {
                    offset = self.write_piece(offset, piece).await;
                }
            }
        }
        offset = self.write_piece(offset, encoder.finish()).await;
        let ops = self.storage.borrow_mut().snapshot_finish(source);
        execute(&self.disk, ops).await;
        let ops = self.storage.borrow_mut().snapshot_durable(source);
        execute(&self.disk, ops).await;
        self.metrics.storage.snapshot_taken(offset, started.elapsed());
        tracing::info!(index = meta.index.0, bytes = offset, "took a snapshot");
        offset
    }

    /// Part of a durable snapshot, for a follower, and whether it is the last; `None` when that
    /// snapshot is gone.
    pub(super) async fn read(&self, index: Index, offset: u64) -> Option<(Bytes, bool)> {
        let file = FileName::Snapshot(index);
        // One byte more than a chunk tells whether anything follows it.
        match self.disk.read_at(file, offset, MAX_SNAPSHOT_CHUNK_BYTES + 1).await {
            Ok(mut chunk) => {
                let is_last = chunk.len() <= MAX_SNAPSHOT_CHUNK_BYTES;
                chunk.truncate(MAX_SNAPSHOT_CHUNK_BYTES);
                Some((chunk, is_last))
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                tracing::warn!(%error, "a snapshot that a follower wants cannot be read");
                None
            }
        }
    }

    /// Whether the snapshot that the leader sent, all of which was written, is whole and sound.
    pub(super) async fn verify_received(&self, meta: &SnapshotMeta) -> bool {
        let file = FileName::SnapshotTemp(SnapshotSource::Received, meta.index);
        match self.decode(file, |_| {}).await {
            Ok(found) if found == *meta => true,
            Ok(_) => {
                tracing::warn!("a received snapshot is not the one that was announced");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a received snapshot is damaged");
                false
            }
        }
    }

    /// Makes the map hold what the durable snapshot at `index` holds, and nothing else.
    pub(super) async fn load(&self, index: Index) {
        let post = &self.post;
        for executor in 0..post.executors() {
            post.send(executor, Envelope::Shard(ShardWork::Clear));
        }
        let load = |items: Vec<SnapshotItem>| {
            let mut parts: Vec<Vec<SnapshotItem>> = vec![Vec::new(); post.executors()];
            for item in items {
                parts[post.owner(&item.key)].push(item);
            }
            for (executor, part) in parts.into_iter().enumerate() {
                post.send(executor, Envelope::Shard(ShardWork::Load(part)));
            }
        };
        if let Err(error) = self.decode(FileName::Snapshot(index), load).await {
            // The map is half built and the disk has nothing better.
            fence(&error);
        }
    }

    async fn decode(
        &self,
        file: FileName,
        mut each: impl FnMut(Vec<SnapshotItem>),
    ) -> Result<SnapshotMeta, SnapshotError> {
        let mut decoder = SnapshotDecoder::new();
        let mut offset = 0;
        loop {
            let piece = match self.disk.read_at(file, offset, MAX_SNAPSHOT_CHUNK_BYTES).await {
                Ok(piece) => piece,
                Err(error) => fence(&error),
            };
            if piece.is_empty() {
                return decoder.finish().map(|summary| summary.meta);
            }
            offset += piece.len() as u64;
            decoder.feed(&piece);
            while let Some(part) = decoder.next_part()? {
                match part {
                    SnapshotPart::Items(items) => each(items),
                    SnapshotPart::Header { .. } | SnapshotPart::Footer => {}
                }
            }
            glommio::yield_if_needed().await;
        }
    }

    /// Writes a piece, and then leaves the disk to the log for some time.
    async fn write_piece(&self, offset: u64, piece: Bytes) -> u64 {
        let end = offset + piece.len() as u64;
        let started = Instant::now();
        let ops = self.storage.borrow_mut().snapshot_write(SnapshotSource::Local, offset, piece);
        execute(&self.disk, ops.expect("the encoder makes whole blocks, one after another")).await;
        Timer::new(started.elapsed() * PAUSE_FACTOR).await;
        end
    }
}
