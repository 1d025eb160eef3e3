//! One seed from its beginning to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::closing;
use super::history::History;
use super::nemesis::Nemesis;
use super::plan::Plan;
use super::trace::Trace;
use super::violation::{Property, Violation};
use super::world::{Tally, World};

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What it did, by plan.
    pub plan: Plan,
    /// What was wrong, if anything was.
    pub violation: Option<Violation>,
    /// Everything that happened, in one number.
    pub trace_hash: u64,
    /// The last of it, where text was kept.
    pub last_lines: Vec<String>,
    /// How much of everything there was.
    pub tally: Tally,
    /// What the clients saw.
    pub history: History,
    /// How much time passed in it, in ms.
    pub simulated_ms: u64,
}

/// Runs a plan. An assertion of the code under test that fails is a violation like any other.
#[must_use]
pub fn run(plan: Plan, trace: Trace) -> Outcome {
    let mut world = World::new(plan, trace);
    let began_us = world.now_us;
    let result = catch_unwind(AssertUnwindSafe(|| live(&mut world)));
    let violation = match result {
        Ok(result) => result.err(),
        Err(panic) => {
            Some(Violation { property: Property::Assertion, detail: panic_text(panic.as_ref()) })
        }
    };
    world.say_states();
    world.tally.entries = world.watch.entries();
    let history = world.workload.history().clone();
    world.tally.unknown =
        history.operations.iter().filter(|operation| operation.answer().is_none()).count() as u64;
    Outcome {
        trace_hash: world.trace.hash(),
        last_lines: world.trace.lines().map(str::to_owned).collect(),
        tally: world.tally,
        history,
        simulated_ms: (world.now_us - began_us) / 1_000,
        plan: world.plan,
        violation,
    }
}

fn live(world: &mut World) -> Result<(), Violation> {
    let end_us = world.now_us + world.plan.duration_ms * 1_000;
    let mut nemesis = Nemesis::new(&world.plan, world.now_us);
    while world.now_us < end_us {
        let until_us = nemesis.next_us().min(end_us);
        world.run_until(until_us)?;
        nemesis.act(world);
    }
    nemesis.end_all(world);
    closing::close(world)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
