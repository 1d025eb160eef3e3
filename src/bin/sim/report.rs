//! What the runs came to, printed: a table over all of them, and a page for each that failed.

use std::process::Command;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;
use mokv::sim::plan::Fault;
use mokv::sim::{Outcome, Tally};

use crate::args::options_for;
use crate::sweep::{Failure, Totals};

/// How many of the last events a failure shows; a replay shows all.
const LAST_LINES: usize = 40;
const REPLAY: &str = "cargo run --release --bin sim --";

/// Prints a seed that failed, and the smallest plan that fails like it.
pub(crate) fn failure(outcome: &Outcome, failure: &Failure) {
    let Failure { last_lines, is_repeatable, shrunk } = failure;
    let Outcome { plan, simulated_ms, trace_hash, .. } = outcome;
    println!("\n=== seed {} failed, commit {}", plan.seed, commit());
    println!("last events:");
    for line in &last_lines[last_lines.len().saturating_sub(LAST_LINES)..] {
        println!("  {line}");
    }
    if let Some(violation) = &outcome.violation {
        println!("violated after {}: {violation}", simulated(*simulated_ms));
    }
    println!("plan: {plan}");
    println!("trace hash: {trace_hash:016x}");
    if !is_repeatable {
        println!("NOT REPEATABLE: the same plan gave another trace");
    }
    println!("replay: {REPLAY} {}", options_for(plan));
    println!("shrunk in {} runs: {}", shrunk.tries, shrunk.plan);
    println!("replay: {REPLAY} {}\n", options_for(&shrunk.plan));
}

/// Prints the sum of all runs.
pub(crate) fn summary(totals: &Totals, wall: Duration) {
    let Totals { seeds, failures, simulated_ms, cpu, tally, trace_hash, .. } = totals;
    println!("{}", faults_table(totals));
    let mut table = table(&["all seeds", ""]);
    table.add_row(["seeds".to_owned(), HumanCount(*seeds).to_string()]);
    table.add_row(["simulated time".to_owned(), simulated(*simulated_ms)]);
    table.add_row(["CPU time of all cores".to_owned(), format!("{:.1} s", cpu.as_secs_f64())]);
    table.add_row(["wall time".to_owned(), format!("{:.1} s", wall.as_secs_f64())]);
    for (name, count) in counts(tally) {
        table.add_row([name.to_owned(), HumanCount(count).to_string()]);
    }
    table.add_row(["violations".to_owned(), HumanCount(*failures).to_string()]);
    println!("{table}");
    println!("{}x real time on one core", HumanCount(totals.rate() as u64));
    println!("trace hash of all seeds: {trace_hash:016x}");
    println!("commit {}: {failures} of {} seeds failed", commit(), HumanCount(*seeds));
}

/// Everything that a tally counts, by name.
pub(crate) fn counts(tally: &Tally) -> [(&'static str, u64); 9] {
    [
        ("events", tally.events),
        ("starts of a process", tally.starts),
        ("deaths of a process", tally.deaths),
        ("volumes lost", tally.wipes),
        ("damage found by recovery", tally.damage_found),
        ("faults struck", tally.faults.iter().sum()),
        ("requests", tally.requests),
        ("requests of unknown outcome", tally.unknown),
        ("entries committed", tally.entries),
    ]
}

/// A length of simulated time.
pub(crate) fn simulated(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms % 60_000 / 1_000);
    if minutes == 0 {
        format!("{:.1} s", ms as f64 / 1e3)
    } else if minutes < 60 {
        format!("{minutes} min {seconds} s")
    } else {
        format!("{} h {} min", HumanCount(minutes / 60), minutes % 60)
    }
}

/// Which sources these are, if git can tell.
pub(crate) fn commit() -> String {
    let told =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
    match told {
        Ok(told) if told.status.success() => {
            String::from_utf8_lossy(&told.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn faults_table(totals: &Totals) -> Table {
    let mut table = table(&["fault", "seeds with it", "times struck"]);
    for fault in Fault::ALL {
        let struck = match fault.is_constant() {
            true => "all the time".to_owned(),
            false => HumanCount(totals.tally.faults[fault as usize]).to_string(),
        };
        let seeds = HumanCount(totals.seeds_with[fault as usize]).to_string();
        table.add_row([format!("{fault:?}"), seeds, struck]);
    }
    table
}

/// A table whose columns but the first are numbers.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
