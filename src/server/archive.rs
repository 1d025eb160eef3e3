//! What a server does with its data once it left its cluster: it sets it aside.
//!
//! A server that comes back after leaving must come as a new one: its old identity is no member any
//! more, and its log may hold what the cluster has since forgotten.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::storage::FileName;
use crate::types::NodeId;

/// Moves the files of `node` into a directory beside them, named after it; returns the directory.
///
/// # Errors
/// When a file cannot be moved. The identity goes last, so an interrupted move is taken up again by
/// the next leave.
pub(super) fn archive(data_dir: &Path, node: NodeId) -> io::Result<PathBuf> {
    let archive = data_dir.join(format!("left-{node}"));
    fs::create_dir_all(&archive)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        if let Some(file) = name.to_str().and_then(FileName::parse) {
            files.push(file);
        }
    }
    files.sort_by_key(|file| *file == FileName::Identity);
    for file in files {
        let name = file.to_string();
        fs::rename(data_dir.join(&name), archive.join(&name))?;
    }
    fs::File::open(data_dir)?.sync_all()?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_files_are_set_aside_and_others_stay() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for name in ["identity", "hard-state", "wal-0000000000000001", "LOCK"] {
            fs::write(dir.path().join(name), name).expect("a file");
        }
        let archive = archive(dir.path(), NodeId(7)).expect("a move");
        let mut left: Vec<_> = fs::read_dir(&archive)
            .expect("the archive")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        left.sort();
        assert_eq!(left, ["hard-state", "identity", "wal-0000000000000001"]);
        assert!(dir.path().join("LOCK").exists());
        assert!(!dir.path().join("identity").exists());
    }
}
