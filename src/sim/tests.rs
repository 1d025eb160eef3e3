//! A fixed slice of seeds, for every `make test`: short enough for a build without optimisation. The
//! `sim` program runs many more, for longer.

use std::collections::BTreeSet;

use super::plan::{Fault, Plan};
use super::shrink::shrink;
use super::trace::Trace;
use super::{Outcome, Tally, run};

const SEEDS: u64 = 16;
const DURATION_MS: u64 = 40_000;

fn silently(plan: Plan) -> Outcome {
    run(plan, Trace::silent())
}

#[test]
fn a_slice_of_seeds_strikes_every_fault_and_finds_nothing() {
    let mut all = Tally::default();
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let outcome = silently(Plan::draw(seed, DURATION_MS));
        assert_eq!(outcome.violation, None, "seed {seed}");
        all += outcome.tally;
        seen.extend(outcome.plan.faults);
    }
    for fault in Fault::ALL {
        let is_struck = fault.is_constant() || all.faults[fault as usize] > 0;
        assert!(seen.contains(&fault) && is_struck, "{fault:?} never happens: choose other seeds");
    }
    assert!(all.entries > 500 && all.unknown > 0, "the clients are at work: {all:?}");
}

#[test]
fn a_seed_is_a_run_and_another_seed_another() {
    let hashes = |duration_ms| {
        (0..3).map(|seed| silently(Plan::draw(seed, duration_ms)).trace_hash).collect::<Vec<_>>()
    };
    let first = hashes(10_000);
    assert_eq!(first, hashes(10_000));
    assert_eq!(BTreeSet::from_iter(&first).len(), 3, "{first:?}");
}

#[test]
fn a_run_is_the_same_whether_anybody_reads_it_or_not() {
    let plan = Plan::draw(5, 10_000);
    let read = run(plan.clone(), Trace::readable(None));
    assert_eq!(read.trace_hash, silently(plan).trace_hash);
    assert!(!read.last_lines.is_empty());
}

#[test]
fn a_run_that_loses_power_is_shrunk_to_little_else() {
    let plan = Plan {
        faults: [Fault::PowerLoss, Fault::Kill, Fault::Loss].into(),
        ..Plan::draw(1, 9_600)
    };
    let loses_power =
        |plan: &Plan| silently(plan.clone()).tally.faults[Fault::PowerLoss as usize] > 0;
    assert!(loses_power(&plan));
    let shrunk = shrink(plan, loses_power).plan;
    assert_eq!(shrunk.faults, BTreeSet::from([Fault::PowerLoss]));
    assert_eq!((shrunk.servers, shrunk.clients, shrunk.keys), (3, 1, 1));
    assert!(loses_power(&shrunk));
}
