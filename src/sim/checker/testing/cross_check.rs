//! Two checkers judge the same histories: ours, and that of `todc-utils` (`oracle.rs`).

use std::collections::BTreeMap;

use crate::prng::Prng;
use crate::sim::checker::log::Log;
use crate::sim::checker::projection::Projection;
use crate::sim::checker::register::{MAX_CONFIGURATIONS, Verdict, search};
use crate::sim::checker::shrink::explain;
use crate::sim::checker::{Kind, check};
use crate::sim::history::History;

use super::corrupt::Fault;
use super::generate::{Shape, valid};
use super::oracle;

/// How many histories of each sort are compared.
const HISTORIES: usize = 1000;

fn small(prng: &mut Prng) -> Shape {
    Shape {
        clients: 2 + prng.below(4) as u32,
        keys: 1 + prng.below(4),
        operations: 10 + prng.below(31) as usize,
        unknown_percent: prng.below(3) * 8,
        hot_percent: prng.below(3) * 30,
        with_stale_reads: prng.below(2) == 0,
    }
}

/// Histories with one fault each that the other checker rejects, every fault in its turn.
fn corrupted(count: usize) -> Vec<(Fault, History)> {
    let mut prng = Prng::new(2);
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let fault = Fault::ALL[found.len() % Fault::ALL.len()];
        let shape = small(&mut prng);
        let history = valid(shape, &mut prng);
        let broken = fault.put_into(&history, &mut prng);
        found.extend(broken.filter(|broken| !oracle::is_map(broken)).map(|broken| (fault, broken)));
    }
    found
}

/// Asserts that both checkers say the same of each key's values; how many keys they reject.
fn assert_registers_agree(history: &History) -> usize {
    // Without a log, of phantoms, there is nothing to search.
    let Ok(log) = Log::of(history) else { return 0 };
    let mut rejected = 0;
    for projection in Projection::of_all_keys(history, &log) {
        let ours = search(&projection, MAX_CONFIGURATIONS);
        assert_ne!(ours, Verdict::GaveUp, "{}", projection.key);
        let theirs = oracle::is_register(history, projection.key);
        let key = projection.key;
        assert_eq!(ours == Verdict::Linearizable, theirs, "{key} of\n{}", history.to_json_lines());
        rejected += usize::from(!theirs);
    }
    rejected
}

#[test]
fn a_thousand_valid_histories_are_accepted_by_both_checkers() {
    let mut prng = Prng::new(1);
    for _ in 0..HISTORIES {
        let shape = small(&mut prng);
        let history = valid(shape, &mut prng);
        if let Err(violation) = check(&history) {
            panic!("{violation}\nof\n{}", history.to_json_lines());
        }
        assert!(oracle::is_map(&history), "{}", history.to_json_lines());
        assert_eq!(assert_registers_agree(&history), 0);
    }
}

#[test]
fn a_thousand_corrupted_histories_are_rejected_by_both_checkers() {
    let mut rejected_registers = 0;
    let mut rejected_as: BTreeMap<Fault, Vec<Kind>> = BTreeMap::new();
    for (fault, history) in corrupted(HISTORIES) {
        let Err(violation) = check(&history) else {
            panic!("{fault:?} was accepted in\n{}", history.to_json_lines());
        };
        let is_decided = !matches!(violation.kind, Kind::Undecided(_));
        assert!(is_decided, "{violation}\n{}", history.to_json_lines());
        rejected_as.entry(fault).or_default().push(violation.kind);
        rejected_registers += assert_registers_agree(&history);
    }
    for fault in Fault::ALL {
        assert!(rejected_as.contains_key(&fault), "{fault:?} found no place");
    }
    let kinds: Vec<_> = rejected_as.values().flatten().collect();
    for kind in [Kind::Phantom, Kind::Numbering, Kind::RealTime, Kind::List] {
        assert!(kinds.contains(&&kind), "nothing was rejected as {kind}");
    }
    assert!(rejected_registers >= 100, "only {rejected_registers} registers were rejected");
}

/// One hot key with ten clients; and what a run of the simulator is like.
const LARGE: [Shape; 2] = [
    Shape {
        clients: 10,
        keys: 1,
        operations: 2000,
        unknown_percent: 5,
        hot_percent: 100,
        with_stale_reads: true,
    },
    Shape {
        clients: 15,
        keys: 20,
        operations: 5000,
        unknown_percent: 3,
        hot_percent: 30,
        with_stale_reads: true,
    },
];

#[test]
fn large_histories_with_many_unknown_writes_are_decided() {
    let mut prng = Prng::new(4);
    for shape in LARGE {
        let history = valid(shape, &mut prng);
        assert_eq!(check(&history), Ok(()));
        // A read that goes back behind an answered write is wrong whatever became of the unknown ones,
        // and mostly the values alone show it.
        let mut stuck = 0;
        for fault in [Fault::StaleRead, Fault::LostWrite, Fault::StaleRead, Fault::LostWrite] {
            let broken = fault.put_into(&history, &mut prng).expect("a large history has room");
            assert!(check(&broken).is_err(), "{fault:?} in {shape:?}");
            let log = Log::of(&broken).expect("every value was written");
            for projection in Projection::of_all_keys(&broken, &log) {
                match search(&projection, MAX_CONFIGURATIONS) {
                    Verdict::Linearizable => {}
                    Verdict::Stuck { .. } => {
                        stuck += 1;
                        let violation = explain(&broken, projection);
                        assert!(violation.operations.len() < 20, "{violation}");
                    }
                    Verdict::GaveUp => panic!("{fault:?} in {shape:?}"),
                }
            }
        }
        assert!(stuck >= 2, "only {stuck} of 4 in {shape:?}");
    }
}

#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let mut prng = Prng::new(5);
    let history = valid(LARGE[0], &mut prng);
    let log = Log::of(&history).expect("it is valid");
    let projections = Projection::of_all_keys(&history, &log);
    assert_eq!(search(&projections[0], 10), Verdict::GaveUp);
}

/// `make porcupine` has the Go checker porcupine judge what this writes. It looks at one key at a time
/// and at no revisions, so faults that only those show are kept apart: to it, these are valid.
#[test]
#[ignore = "writes files for make porcupine"]
fn histories_for_porcupine_are_written() {
    let root = std::env::var_os("MOKV_HISTORIES").expect("MOKV_HISTORIES names a directory");
    let root = std::path::Path::new(&root);
    let mut written: BTreeMap<&str, usize> = BTreeMap::new();
    let mut write = |sort: &'static str, history: &History| {
        let number = written.entry(sort).or_default();
        *number += 1;
        let directory = root.join(sort);
        std::fs::create_dir_all(&directory).expect("the directory can be made");
        let file = directory.join(format!("{number:04}.jsonl"));
        std::fs::write(file, history.to_json_lines()).expect("the history can be written");
    };
    let mut prng = Prng::new(3);
    for _ in 0..HISTORIES {
        let shape = small(&mut prng);
        let history = valid(shape, &mut prng);
        assert_eq!(check(&history), Ok(()));
        write("linearizable", &history);
    }
    for (_, history) in corrupted(HISTORIES) {
        assert!(check(&history).is_err());
        let mut keys: Vec<_> = history.operations.iter().filter_map(|op| op.call.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        let is_fault_of_a_key = keys.iter().any(|key| !oracle::is_register(&history, *key));
        write(if is_fault_of_a_key { "fault-of-a-key" } else { "fault-across-keys" }, &history);
    }
}
