//! The configurations in each server's log, as the log was written (Raft §6: a configuration is in
//! force from when it is appended, and no longer once it is truncated).

use std::collections::BTreeMap;

use super::overlap;
use crate::types::{Configuration, Entry, EntryKind, Index, NodeId, SnapshotMeta};

/// By server: the configurations of its log, by index; the first may be a snapshot's.
#[derive(Debug, Default)]
pub(super) struct Configurations {
    logs: BTreeMap<NodeId, BTreeMap<Index, Configuration>>,
}

impl Configurations {
    /// The log of `id` begins behind `snapshot` with `entries`.
    pub(super) fn starts(&mut self, id: NodeId, snapshot: &SnapshotMeta, entries: &[Entry]) {
        let mut log = BTreeMap::from([(snapshot.index, snapshot.configuration.clone())]);
        for entry in entries.iter().filter(|entry| entry.kind() == EntryKind::Configuration) {
            log.insert(entry.index(), decode(entry));
        }
        self.logs.insert(id, log);
    }

    /// The log of `id` is gone.
    pub(super) fn forget(&mut self, id: NodeId) {
        self.logs.remove(&id);
    }

    /// Entries of `id` from `from` on are superseded.
    pub(super) fn truncates(&mut self, id: NodeId, from: Index) {
        self.logs.entry(id).or_default().retain(|index, _| *index < from);
    }

    /// `id` appends a configuration; fails where its majorities can miss those of the one before.
    pub(super) fn appends(&mut self, id: NodeId, entry: &Entry) -> Result<(), String> {
        let log = self.logs.entry(id).or_default();
        let next = decode(entry);
        let before = log.last_key_value().map(|(_, before)| before.clone());
        log.insert(entry.index(), next.clone());
        before.map_or(Ok(()), |before| overlap::check(&before, &next))
    }

    /// The configuration in force is the last one in the log, committed or not.
    pub(super) fn in_force(&self, id: NodeId, index: Index) -> Result<(), String> {
        let last = self.logs.get(&id).and_then(|log| log.last_key_value());
        match last {
            Some((last, _)) if *last != index => {
                Err(format!("{id} goes by the configuration at {index}; its log has one at {last}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// How many configurations in the log of `id` lie after `commit`.
    pub(super) fn uncommitted(&self, id: NodeId, commit: Index) -> usize {
        self.logs.get(&id).map_or(0, |log| log.range(commit.next()..).count())
    }

    /// The different configurations at or after `index` in any log.
    pub(super) fn since(&self, index: Index) -> Vec<Configuration> {
        let mut found: Vec<Configuration> = Vec::new();
        for configuration in self.logs.values().flat_map(|log| log.range(index..)).map(|(_, c)| c) {
            if !found.contains(configuration) && !configuration.voters.is_empty() {
                found.push(configuration.clone());
            }
        }
        found
    }

    /// `configuration`, and those just before and after it in any log.
    pub(super) fn around(&self, configuration: &Configuration) -> Vec<Configuration> {
        let mut found = vec![configuration.clone()];
        for log in self.logs.values() {
            let list: Vec<&Configuration> = log.values().collect();
            for pair in list.windows(2) {
                let [before, after] = [pair[0], pair[1]];
                if before == configuration && !found.contains(after) {
                    found.push(after.clone());
                } else if after == configuration && !found.contains(before) {
                    found.push(before.clone());
                }
            }
        }
        found
    }
}

fn decode(entry: &Entry) -> Configuration {
    Configuration::decode(entry.body()).expect("what a server writes passed its checks")
}
