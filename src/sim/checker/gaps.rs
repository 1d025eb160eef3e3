//! Every gap in the log must have a write that fits it.
//!
//! Whoever is told revision 5 is told that there are four writes before it. If one of them is not
//! known, it is a write that was sent and not answered, and that no read found. Not every such write
//! fits: it must not have been called after the gap had passed, nor have come between what a read
//! found and the earliest moment of that read. And one write fits one gap only.
//!
//! ```text
//!   revision    4         5         6         7
//!            | k1=20 |   gap   | k2=8  |   gap   | ...
//!                ^         \              |
//!   read of k1 = 20 at      \             |   lost: set k1=21   fits neither: k1 was still 20
//!   moment 8 ---+            +------------+-- lost: set k3=5    fits the first
//! ```
//!
//! So a write that took effect twice is found out, even if it wrote the same again: it takes up a
//! revision that no write is left for. Whether all gaps can be filled at once is a matching of a
//! bipartite graph, found by augmenting paths (Kuhn 1955).

use std::collections::BTreeMap;

use crate::sim::history::{Call, History, Key, Return};
use crate::types::Revision;

use super::log::{Log, effect};
use super::revisions::Moments;
use super::{Kind, Violation};

/// The most pairs of a gap and a write that are looked at. With more, nothing is demanded of gaps; a
/// run in which every tenth of 5,000 writes is lost stays below.
const MAX_PAIRS: usize = 1_000_000;

/// Checks that different writes can fill all gaps.
pub(super) fn check(history: &History, log: &Log, moments: &Moments) -> Result<(), Violation> {
    let gaps: Vec<_> = log.gaps().collect();
    let lost = lost_writes(history, log, moments);
    let lost_count = lost.values().map(Vec::len).sum();
    if gaps.len() * lost_count > MAX_PAIRS {
        return Ok(());
    }
    let held = Held::of(history, log, moments, &lost);
    let fitting = gaps.iter().map(|gap| fitting_writes(*gap, &lost, log, &held));
    let mut matching = Matching::new(fitting.collect(), lost_count);
    for (at, gap) in gaps.iter().enumerate() {
        if !matching.fill(at) {
            let what = format!(
                "revision {gap} was passed, but no write that may have been done fits it, or else \
                 an earlier gap is left"
            );
            let shown_by = first_at_or_after(history, moments, *gap);
            let near =
                [gap.0 - 1, gap.0 + 1].into_iter().filter_map(|at| log.write_of(Revision(at)));
            let ids = shown_by.into_iter().chain(near).collect();
            return Err(Violation::new(Kind::Numbering, what, history, ids));
        }
    }
    Ok(())
}

/// A write that may have taken effect, but is not known to.
struct LostWrite {
    /// Its number among all of these.
    number: usize,
    /// What had passed when it was called.
    floor: Revision,
    called_us: u64,
    is_delete: bool,
}

/// The lost writes of each key, in the order of their calls; their floors ascend.
fn lost_writes(history: &History, log: &Log, moments: &Moments) -> BTreeMap<Key, Vec<LostWrite>> {
    let mut lost: BTreeMap<Key, Vec<LostWrite>> = BTreeMap::new();
    let mut number = 0;
    for (id, operation) in history.operations.iter().enumerate() {
        let Some((key, after)) = effect(&operation.call) else { continue };
        if operation.may_have_written() && log.revision_of(id).is_none() {
            let (floor, called_us) = (moments.floors[id], operation.invoked_us);
            let write = LostWrite { number, floor, called_us, is_delete: after.is_none() };
            lost.entry(key).or_default().push(write);
            number += 1;
        }
    }
    lost
}

/// The numbers of the lost writes that fit a gap.
fn fitting_writes(
    gap: Revision,
    lost: &BTreeMap<Key, Vec<LostWrite>>,
    log: &Log,
    held: &Held,
) -> Vec<usize> {
    let mut fitting = Vec::new();
    for (key, writes) in lost {
        let before = (*key, log.last_write(*key, gap).unwrap_or_default());
        let held_until = |until: &BTreeMap<_, _>| until.get(&before).is_some_and(|at| *at >= gap);
        let (has_value, is_absent) = (held_until(&held.present), held_until(&held.absent));
        let called_before = writes.iter().take_while(|write| write.floor < gap);
        let free = called_before.filter(|write| !has_value && (write.is_delete || !is_absent));
        fitting.extend(free.map(|write| write.number));
    }
    fitting
}

/// Of a known write, by its key and revision, a moment at which a read still saw its effect. Revision
/// 0 stands for the beginning.
#[derive(Default)]
struct Held {
    /// Of `Set`s.
    present: BTreeMap<(Key, Revision), Revision>,
    /// Of deletes and the beginning, where the key cannot have been missing for another reason.
    absent: BTreeMap<(Key, Revision), Revision>,
}

impl Held {
    fn of(
        history: &History,
        log: &Log,
        moments: &Moments,
        lost: &BTreeMap<Key, Vec<LostWrite>>,
    ) -> Held {
        let mut held = Held::default();
        let ceilings = Ceilings::of(history, log);
        for (id, operation) in history.operations.iter().enumerate() {
            let (Some(moment), Some((answered_us, answer))) =
                (moments.earliest[id], operation.answer())
            else {
                continue;
            };
            let mut see = |key: Key, found: Option<Revision>| match found {
                Some(set) => hold(&mut held.present, (key, set), moment),
                None => {
                    let by_lost_delete = lost.get(&key).is_some_and(|writes| {
                        writes.iter().any(|write| write.is_delete && write.called_us <= answered_us)
                    });
                    let next = log.next_write(key, moment);
                    let later = next.is_some_and(|next| next < ceilings.of_answer(answered_us));
                    if !by_lost_delete && !later {
                        let since = log.last_write(key, Revision(moment.0 + 1)).unwrap_or_default();
                        hold(&mut held.absent, (key, since), moment);
                    }
                }
            };
            if let Return::Listed(listed) = answer {
                log.keys().for_each(|key| see(key, listed.get(&key).map(|(_, set)| *set)));
            } else if let (Call::Get { key }, Return::Read(found)) = (&operation.call, answer) {
                see(*key, found.map(|(_, set)| set));
            }
        }
        held
    }
}

fn hold(until: &mut BTreeMap<(Key, Revision), Revision>, write: (Key, Revision), moment: Revision) {
    let until = until.entry(write).or_insert(moment);
    *until = moment.max(*until);
}

/// Before which write the moments of operations must lie.
struct Ceilings {
    /// Of every known write, when it was called, and the least revision of all that were called then
    /// or later. Ascending.
    least_from: Vec<(u64, Revision)>,
}

impl Ceilings {
    fn of(history: &History, log: &Log) -> Ceilings {
        let operations = history.operations.iter().enumerate();
        let known = operations.filter_map(|(id, op)| Some((op.invoked_us, log.revision_of(id)?)));
        let mut least_from: Vec<_> = known.collect();
        for at in (1..least_from.len()).rev() {
            least_from[at - 1].1 = least_from[at - 1].1.min(least_from[at].1);
        }
        Ceilings { least_from }
    }

    /// The least revision of all writes that were called after `answered_us`.
    fn of_answer(&self, answered_us: u64) -> Revision {
        let after = self.least_from.partition_point(|(called_us, _)| *called_us <= answered_us);
        self.least_from.get(after).map_or(Revision(u64::MAX), |(_, revision)| *revision)
    }
}

/// The operation whose moment shows most closely that `gap` has passed.
fn first_at_or_after(history: &History, moments: &Moments, gap: Revision) -> Option<usize> {
    let shown = (0..history.operations.len()).filter_map(|id| Some((moments.earliest[id]?, id)));
    shown.filter(|(moment, _)| *moment >= gap).min().map(|(_, id)| id)
}

/// Which write fills which gap.
struct Matching {
    /// Of every gap, the writes that fit it.
    fitting: Vec<Vec<usize>>,
    /// Of every write, the gap that it fills.
    filled: Vec<Option<usize>>,
    /// Of every gap, the write that fills it.
    filler: Vec<Option<usize>>,
}

impl Matching {
    fn new(fitting: Vec<Vec<usize>>, writes: usize) -> Matching {
        let filler = vec![None; fitting.len()];
        Matching { fitting, filled: vec![None; writes], filler }
    }

    /// Finds a write for `gap`, by giving other writes to gaps that were filled before if need be.
    fn fill(&mut self, gap: usize) -> bool {
        // Breadth first: each write that was reached, with the gap that it would fill.
        let mut would_fill: BTreeMap<usize, usize> = BTreeMap::new();
        let mut waiting = vec![gap];
        let mut next = 0;
        while let Some(&unfilled) = waiting.get(next) {
            next += 1;
            for &write in &self.fitting[unfilled] {
                if would_fill.contains_key(&write) {
                    continue;
                }
                would_fill.insert(write, unfilled);
                match self.filled[write] {
                    Some(other) => waiting.push(other),
                    None => {
                        self.reassign(write, &would_fill);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Gives `write` to the gap that it would fill, the write that had this gap to its own, and so on.
    fn reassign(&mut self, mut write: usize, would_fill: &BTreeMap<usize, usize>) {
        loop {
            let gap = would_fill[&write];
            self.filled[write] = Some(gap);
            match self.filler[gap].replace(write) {
                Some(other) => write = other,
                None => return,
            }
        }
    }
}
