//! Snapshots on their way from a leader to a follower (§7).
//!
//! ```text
//!   leader's driver        leader                        follower        follower's driver
//!   read at 0  <---------- SnapshotRead
//!   snapshot_chunk ------> SnapshotChunk 0..n  --------> SnapshotWrite -> temporary file
//!                          SnapshotRead n      <-------- SnapshotAck n
//!                          ...
//!                          SnapshotChunk last  --------> SnapshotWrite -> verify, rename, load
//!                          replicates from here <------- Appended     <-- snapshot_installed
//! ```
//!
//! One part is under way at a time. The follower says where to go on, so a transfer resumes where it
//! was after a lost message or a broken link, and begins again after a restart of the follower.

use bytes::Bytes;

use super::config::MAX_SNAPSHOT_CHUNK_BYTES;
use super::message::{Message, Position};
use super::ready::SnapshotWrite;
use super::{Raft, Role};
use crate::types::{Index, NodeId, SnapshotMeta};

/// A snapshot being received.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    /// Who sends it. Another server's file may differ byte for byte.
    from: NodeId,
    meta: SnapshotMeta,
    /// The bytes before this offset were given to the disk.
    next_offset: u64,
    /// All bytes have come, and the driver is about to replace the state by them. Until it has,
    /// nothing is appended to the log, which is about to restart, and nothing given out to be applied.
    is_complete: bool,
}

impl Raft {
    /// Answers a [`SnapshotRead`](super::SnapshotRead): the bytes at `offset` and whether the file
    /// ends after them, or `None` when there is no such file or it has no such offset.
    ///
    /// # Panics
    /// When the part has more than [`MAX_SNAPSHOT_CHUNK_BYTES`].
    pub fn snapshot_chunk(
        &mut self,
        to: NodeId,
        meta: &SnapshotMeta,
        offset: u64,
        chunk: Option<(Bytes, bool)>,
        now_ms: u64,
    ) {
        self.advance_clock(now_ms);
        let term = self.term();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&to) else { return };
        let Some((data, last)) = chunk else {
            let restart = progress.chunk_gone(meta, offset, &self.log, self.now_ms);
            self.send_outgoing(to, restart);
            return;
        };
        assert!(data.len() <= MAX_SNAPSHOT_CHUNK_BYTES, "a part of a snapshot is too large");
        if progress.chunk_read(meta, offset, self.now_ms) {
            let meta = Box::new(meta.clone());
            self.send(to, Message::SnapshotChunk { term, meta, offset, data, last });
        }
    }

    /// The received snapshot is durable and loaded, and the log on disk restarts behind it.
    pub fn snapshot_installed(&mut self, meta: SnapshotMeta, now_ms: u64) {
        self.advance_clock(now_ms);
        let Some(received) = self.finish_incoming() else { return };
        let match_index = meta.index;
        assert_eq!(match_index, received, "another snapshot was received than was installed");
        self.log.restart(meta);
        self.durability.restart(match_index);
        if let Some(leader) = self.known_leader() {
            self.send(leader, Message::Appended { term: self.term(), match_index });
        }
    }

    /// The received snapshot failed its checks; the leader is asked to send it again.
    pub fn snapshot_rejected(&mut self, now_ms: u64) {
        self.advance_clock(now_ms);
        let Some(index) = self.finish_incoming() else { return };
        if let Some(leader) = self.known_leader() {
            self.send(leader, Message::SnapshotAck { term: self.term(), index, offset: 0 });
        }
    }

    /// Whether the driver is replacing the state by a received snapshot.
    pub(super) fn is_installing(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.is_complete)
    }

    pub(super) fn on_snapshot_ack(&mut self, from: NodeId, index: Index, offset: u64) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        let next = progress.chunk_acked(index, offset);
        self.send_outgoing(from, next);
    }

    pub(super) fn on_snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotWrite) {
        self.follow(from);
        if self.is_installing() {
            return;
        }
        let is_trusted = planted!(SnapshotTermIgnored) && chunk.meta.index <= self.log.last_index();
        let end = Position { index: chunk.meta.index, term: chunk.meta.term };
        if self.log.holds(end) || is_trusted {
            // The log reaches that far already, and agrees with the leader's.
            self.log.commit_to(chunk.meta.index);
        }
        if chunk.meta.index <= self.log.commit() {
            let match_index = self.log.commit();
            self.incoming.take_if(|incoming| incoming.meta.index <= match_index);
            self.send(from, Message::Appended { term: self.term(), match_index });
            return;
        }
        self.receive(from, chunk);
    }

    fn receive(&mut self, from: NodeId, chunk: SnapshotWrite) {
        let (index, len_bytes) = (chunk.meta.index, chunk.data.len() as u64);
        let is_same = |incoming: &Incoming| {
            incoming.from == from
                && incoming.meta.index == index
                && incoming.meta.term == chunk.meta.term
        };
        let mut incoming = self.incoming.take().filter(is_same).unwrap_or_else(|| Incoming {
            from,
            meta: chunk.meta.clone(),
            next_offset: 0,
            is_complete: false,
        });
        let is_next = chunk.offset == incoming.next_offset;
        if is_next {
            incoming.next_offset += len_bytes;
            incoming.is_complete = chunk.last;
            self.outbox.snapshot_writes.push(chunk);
        }
        let (offset, is_complete) = (incoming.next_offset, incoming.is_complete);
        self.incoming = Some(incoming);
        if !is_complete {
            self.send(from, Message::SnapshotAck { term: self.term(), index, offset });
        }
    }

    /// Ends the installation, if there is one, and says of which snapshot.
    fn finish_incoming(&mut self) -> Option<Index> {
        let incoming = self.incoming.take_if(|incoming| incoming.is_complete)?;
        Some(incoming.meta.index)
    }
}
