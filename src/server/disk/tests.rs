//! The real disk, under a real executor, in a temporary directory.

use std::path::Path;

use bytes::Bytes;
use glommio::LocalExecutorBuilder;

use super::glommio_disk::DiskError;
use super::open_file::Transfer;
use super::{GlommioDisk, StdDisk};
use crate::storage::{
    DiskOp, FileName, Identity, Recovered, SnapshotEncoder, SnapshotSource, Storage, read_snapshot,
};
use crate::types::{ClusterId, Entry, HardState, Index, NodeId, Revision, SnapshotMeta, Term};

/// Small, so that filling a few takes no time.
const SEGMENT_BYTES: u64 = 64 << 10;

fn on_executor<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    let builder = LocalExecutorBuilder::default().io_memory(1 << 20);
    let handle = builder.spawn(test).expect("an executor");
    handle.join().expect("the executor ends");
}

fn recover(dir: &Path) -> Recovered {
    let recovered = Storage::recover(&StdDisk::new(dir), SEGMENT_BYTES);
    recovered.expect("a sound directory").expect("a server lived here")
}

fn noops(range: std::ops::Range<u64>, term: u64) -> Vec<Entry> {
    range.map(|index| Entry::noop(Index(index), Term(term))).collect()
}

async fn run(disk: &GlommioDisk, ops: Vec<DiskOp>) {
    disk.execute(ops).await.expect("the disk works");
}

/// Fills a log over several segments, snapshots it, truncates it, and reads it all back.
async fn live_and_restart(disk: GlommioDisk, dir: &Path) {
    let identity = Identity { node: NodeId(7), cluster: None };
    let (mut storage, ops) = Storage::create(identity, SEGMENT_BYTES);
    run(&disk, ops).await;
    let hard_state = HardState { term: Term(1), vote: Some(NodeId(7)) };
    run(&disk, storage.append(Some(hard_state), &[])).await;
    for index in 1..60 {
        run(&disk, storage.append(None, &noops(index..index + 1, 1))).await;
        if let Some(ops) = storage.prepare_spare() {
            run(&disk, ops).await;
            storage.spare_ready();
        }
    }
    let meta = SnapshotMeta { index: Index(50), term: Term(1), ..SnapshotMeta::default() };
    let mut encoder = SnapshotEncoder::new(ClusterId(3), &meta);
    let pushed = encoder.push(b"key", b"value", Revision(4));
    assert_eq!(pushed, None);
    let bytes = encoder.finish();
    let source = SnapshotSource::Local;
    run(&disk, storage.snapshot_begin(source, meta.index)).await;
    let written = storage.snapshot_write(source, 0, bytes.clone()).expect("in order");
    run(&disk, written).await;
    run(&disk, storage.snapshot_finish(source)).await;
    run(&disk, storage.snapshot_durable(source)).await;
    let log_bytes = storage.log_bytes();
    run(&disk, storage.truncate_before(Index(51))).await;
    assert!(storage.log_bytes() < log_bytes);
    let read = disk.read_at(FileName::Snapshot(meta.index), 4096, 1 << 20).await.expect("read");
    assert_eq!(read, bytes.slice(4096..));

    let found = recover(dir);
    assert_eq!((found.identity, found.hard_state), (identity, hard_state));
    assert_eq!(found.snapshot, Some(meta));
    assert_eq!(found.entries, noops(51..60, 1));
    let mut keys = Vec::new();
    let file = FileName::Snapshot(Index(50));
    let summary = read_snapshot(&StdDisk::new(dir), file, |item| keys.push(item.key));
    assert_eq!(summary.expect("a sound snapshot").items, 1);
    assert_eq!(keys, [Bytes::from_static(b"key")]);

    // A recovered server goes on where it stopped.
    let mut storage = found.storage;
    run(&disk, found.repairs).await;
    run(&disk, storage.append(None, &noops(60..62, 2))).await;
    assert_eq!(recover(dir).entries.len(), 11);
}

#[test]
fn what_was_written_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    on_executor(move || async move {
        let disk = GlommioDisk::open(dir.path()).await.expect("a disk");
        live_and_restart(disk, dir.path()).await;
    });
}

#[test]
fn a_filesystem_in_memory_serves_as_well() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else { return };
    on_executor(move || async move {
        let disk = GlommioDisk::open(dir.path()).await.expect("a disk");
        live_and_restart(disk, dir.path()).await;
    });
}

#[test]
fn a_filesystem_without_direct_io_serves_as_well() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    on_executor(move || async move {
        let disk = GlommioDisk::with_transfer(dir.path(), Transfer::Buffered);
        live_and_restart(disk, dir.path()).await;
    });
}

#[test]
fn the_first_failure_is_the_last_op() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    on_executor(move || async move {
        let disk = GlommioDisk::open(dir.path()).await.expect("a disk");
        let (missing, never) = (FileName::Spare(1), FileName::Spare(2));
        let ops =
            vec![DiskOp::Remove { file: missing }, DiskOp::Create { file: never, len_bytes: 4096 }];
        let error = disk.execute(ops).await.expect_err("there is no such file");
        assert!(error.is_not_found());
        assert!(error.to_string().contains(&missing.to_string()), "{error}");
        let later = disk.execute(vec![DiskOp::SyncDir]).await.expect_err("poisoned");
        assert!(matches!(later, DiskError::Poisoned { .. }), "{later}");
        assert!(!dir.path().join(never.to_string()).exists());
    });
}

#[test]
fn a_read_that_fails_poisons_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    on_executor(move || async move {
        let disk = GlommioDisk::open(dir.path()).await.expect("a disk");
        let gone = disk.read_at(FileName::Snapshot(Index(1)), 0, 4096).await;
        assert!(gone.expect_err("there is no such file").is_not_found());
        run(&disk, vec![DiskOp::SyncDir]).await;
    });
}
