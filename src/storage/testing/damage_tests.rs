//! Damage is never taken for a crash: not one bad sector, lost write or missing file makes a log
//! shorter without an error, but for the two cases that nothing can tell.

use super::server::{Event, Server, live_through};
use super::{SEGMENT_BYTES, meta};
use crate::storage::op::{Disk, FileName};
use crate::storage::{
    CrashDisk, Identity, Recovered, RecoveryError, SegmentId, SnapshotEncoder, Storage,
};
use crate::types::{ClusterId, Index, NodeId};

/// What recovery makes of a disk that was changed behind its back.
fn recovered(disk: &CrashDisk) -> Result<Recovered, RecoveryError> {
    Storage::recover(disk, SEGMENT_BYTES).map(|found| found.expect("there is an identity"))
}

/// A server after its whole history and some more, and all its segments. The last block of its log
/// holds one entry.
fn whole() -> (Server, Vec<FileName>) {
    let Ok(mut server) = live_through(1, u64::MAX) else { panic!("no crash was planned") };
    for size in [9000, 10, 3000, 9000, 3000, 10, 15_000, 100, 9000, 3000] {
        let first = server.model.last() + 1;
        let append = Event::Append { first, term: 7, sizes: vec![size] };
        server.live(&append).unwrap_or_else(|_| panic!("no crash was planned"));
    }
    let segments: Vec<FileName> =
        server.disk.files().filter(|file| matches!(file, FileName::Segment(_))).collect();
    assert!(segments.len() > 3, "a log of some segments is wanted");
    (server, segments)
}

#[test]
fn a_damaged_sector_is_an_error_or_no_loss_except_in_the_last_block() {
    let (server, segments) = whole();
    let tail = server.model.tail();
    for file in &segments {
        let is_last = Some(file) == segments.last();
        let mut forgiven = Vec::new();
        for sector in 0..SEGMENT_BYTES as usize / 512 {
            for offset in [0, 60, 511] {
                let mut disk = server.disk.clone();
                disk.corrupt(*file, |bytes| bytes[sector * 512 + offset] ^= 4);
                match recovered(&disk) {
                    Err(error) => assert!(error.to_string().contains(&file.to_string())),
                    Ok(found) if found.entries == tail => {}
                    Ok(found) => {
                        // Nothing can tell it from a torn write.
                        assert_eq!(found.entries, tail[..tail.len() - 1]);
                        forgiven.push(sector / 8);
                    }
                }
            }
        }
        forgiven.dedup();
        assert_eq!(forgiven.len(), usize::from(is_last), "{file}: blocks {forgiven:?}");
    }
}

#[test]
fn a_lost_or_misdirected_write_is_an_error() {
    let (server, segments) = whole();
    let blocks: Vec<(FileName, usize)> =
        segments.iter().flat_map(|file| (1..5).map(|block| (*file, block * 4096))).collect();
    let tail = server.model.tail();
    let mut errors = 0;
    for (file, at) in &blocks {
        for (other_file, other_at) in &blocks {
            let mut disk = server.disk.clone();
            let mut stray = Vec::new();
            disk.corrupt(*other_file, |bytes| stray = bytes[*other_at..other_at + 4096].to_vec());
            disk.corrupt(*file, |bytes| bytes[*at..at + 4096].copy_from_slice(&stray));
            match recovered(&disk) {
                Err(_) => errors += 1,
                Ok(found) => assert!(
                    found.entries == tail || found.entries == tail[..tail.len() - 1],
                    "{file} at {at} overwritten from {other_file} at {other_at}: {:?}",
                    found.entries
                ),
            }
        }
    }
    assert!(errors > blocks.len(), "only {errors} were noticed");
}

#[test]
fn a_missing_file_is_named_unless_nothing_is_lost_with_it() {
    let (server, segments) = whole();
    let files: Vec<FileName> = server.disk.files().collect();
    for file in files {
        let mut disk = server.disk.clone();
        disk.lose(file);
        match recovered(&disk) {
            Err(error) => assert!(error.to_string().contains("missing"), "{error}"),
            // No other file says that the newest segment was there.
            Ok(found) if Some(&file) == segments.last() => {
                let shorter = found.entries.len();
                assert_eq!(found.entries, server.model.tail()[..shorter]);
            }
            Ok(found) => {
                assert!(server.model.is(&found), "{file} is gone and nobody noticed");
                let needed = [FileName::Identity, FileName::HardState];
                assert!(!needed.contains(&file), "{file} is needed");
            }
        }
    }
}

#[test]
fn a_file_of_another_server_is_foreign() {
    let (server, segments) = whole();
    let mut other = CrashDisk::default();
    let identity = Identity { node: NodeId(99), cluster: None };
    let (_, ops) = Storage::create(identity, SEGMENT_BYTES);
    ops.iter().for_each(|op| other.execute(op));
    let segment = FileName::Segment(SegmentId(1));
    let theirs = other.read_at(segment, 0, SEGMENT_BYTES as usize).expect("there is a segment");
    let mut disk = server.disk.clone();
    disk.corrupt(segments[0], |bytes| *bytes = theirs);
    assert!(
        matches!(recovered(&disk), Err(RecoveryError::Foreign { file }) if file == segments[0])
    );
}

#[test]
fn a_snapshot_of_another_cluster_is_foreign() {
    let (server, _) = whole();
    let (index, term) = server.model.snapshot;
    let theirs = SnapshotEncoder::new(ClusterId(99), &meta(index, term)).finish();
    let mut disk = server.disk.clone();
    let snapshot = FileName::Snapshot(Index(index));
    disk.corrupt(snapshot, |bytes| *bytes = theirs.to_vec());
    assert!(matches!(recovered(&disk), Err(RecoveryError::Foreign { file }) if file == snapshot));
}
