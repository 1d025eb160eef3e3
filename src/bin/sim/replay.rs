//! One seed, to be read: each line as it comes, and the verdict.

use std::fs;
use std::io;
use std::path::Path;

use mokv::sim::history::History;
use mokv::sim::run;
use mokv::sim::trace::Trace;

use crate::args::Args;
use crate::report::{commit, counts, simulated};

/// Replays `seed`; returns whether nothing was wrong.
pub(crate) fn replay(args: &Args, seed: u64) -> io::Result<bool> {
    let outcome = run(args.plan(seed), Trace::readable(Some(|line| println!("{line}"))));
    println!("\n{}", outcome.plan);
    for (name, count) in counts(&outcome.tally) {
        println!("{count:>9} {name}");
    }
    println!("simulated: {}", simulated(outcome.simulated_ms));
    println!("commit: {}", commit());
    println!("trace hash: {:016x}", outcome.trace_hash);
    if let Some(path) = &args.history {
        write_history(&outcome.history, path)?;
    }
    match &outcome.violation {
        None => println!("verdict: nothing was wrong"),
        Some(violation) => println!("verdict: VIOLATED {violation}"),
    }
    Ok(outcome.violation.is_none())
}

fn write_history(history: &History, path: &Path) -> io::Result<()> {
    fs::write(path, history.to_json_lines())?;
    fs::write(path.with_added_extension("edn"), history.to_edn())?;
    println!("history: {} operations in {}", history.operations.len(), path.display());
    Ok(())
}
