//! From a plan that fails to a small one that fails in the same way.
//!
//! A run of seven servers in which twenty things go wrong tells little about the one that mattered.
//! What the plan allows is taken away piece by piece, and what the failure does without stays away:
//! delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002)
//! over a handful of dimensions instead of lines of input.
//!
//! ```text
//!   shorter ──> fewer faults ──> fewer kinds of request ──> servers ──> clients ──> keys ──> requests
//!      ^                                                                                       |
//!      +────────────────────────── again, while anything shrinks ──────────────────────────────+
//! ```
//!
//! A plan with a fault less is another run altogether: whatever was random falls out differently. So
//! each smaller plan is tried with some of the seeds that follow, too.

use std::collections::BTreeSet;

use super::plan::{Plan, Request};

/// How many runs a search may take.
pub const MAX_TRIES: usize = 600;
/// How many seeds a smaller plan is tried with.
const SEEDS_A_PLAN: u64 = 3;
/// Durations stay multiples of this, in ms: a hundredth of a minute.
const DURATION_STEP_MS: u64 = 600;
/// The fewest servers of a cluster that survives one of them.
const MIN_SERVERS: usize = 3;

/// Smaller plans than a given one in some dimension, the smallest first.
type Cut = fn(&Plan) -> Vec<Plan>;

/// In this order, because a shorter run makes all further tries cheaper.
const CUTS: [Cut; 7] =
    [shorter, fewer_faults, fewer_kinds, fewer_servers, fewer_clients, fewer_keys, fewer_requests];

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest plan found that fails.
    pub plan: Plan,
    /// How many runs the search took.
    pub tries: usize,
}

/// Shrinks `plan`, which fails. `fails` runs a plan and says whether it does so in the same way.
pub fn shrink(plan: Plan, fails: impl FnMut(&Plan) -> bool) -> Shrunk {
    let mut search = Search { fails, tries: 0 };
    let mut best = plan;
    loop {
        let before = best.clone();
        for cut in CUTS {
            while let Some(smaller) = search.first_failing(cut(&best)) {
                best = smaller;
            }
        }
        if best == before || search.tries >= MAX_TRIES {
            return Shrunk { plan: best, tries: search.tries };
        }
    }
}

/// Runs plans, and counts the runs.
struct Search<F> {
    fails: F,
    tries: usize,
}

impl<F: FnMut(&Plan) -> bool> Search<F> {
    fn first_failing(&mut self, candidates: Vec<Plan>) -> Option<Plan> {
        candidates.into_iter().find_map(|plan| self.with_some_seed(plan))
    }

    fn with_some_seed(&mut self, plan: Plan) -> Option<Plan> {
        for step in 0..SEEDS_A_PLAN {
            if self.tries >= MAX_TRIES {
                return None;
            }
            self.tries += 1;
            let plan = Plan { seed: plan.seed.wrapping_add(step), ..plan.clone() };
            if (self.fails)(&plan) {
                return Some(plan);
            }
        }
        None
    }
}

fn shorter(plan: &Plan) -> Vec<Plan> {
    let steps = plan.duration_ms / DURATION_STEP_MS;
    let cuts = smaller_numbers(steps, 0).into_iter();
    cuts.map(|steps| Plan { duration_ms: steps * DURATION_STEP_MS, ..plan.clone() }).collect()
}

fn fewer_faults(plan: &Plan) -> Vec<Plan> {
    let cuts = smaller_sets(&plan.faults).into_iter();
    cuts.map(|faults| Plan { faults, ..plan.clone() }).collect()
}

/// Something must be asked: an idle cluster shows little.
fn fewer_kinds(plan: &Plan) -> Vec<Plan> {
    let cuts = smaller_sets::<Request>(&plan.requests).into_iter();
    let cuts = cuts.filter(|requests| !requests.is_empty());
    cuts.map(|requests| Plan { requests, ..plan.clone() }).collect()
}

fn fewer_servers(plan: &Plan) -> Vec<Plan> {
    let cuts = MIN_SERVERS..plan.servers;
    cuts.map(|servers| Plan { servers, ..plan.clone() }).collect()
}

fn fewer_clients(plan: &Plan) -> Vec<Plan> {
    let cuts = smaller_numbers(plan.clients as u64, 1).into_iter();
    cuts.map(|clients| Plan { clients: clients as usize, ..plan.clone() }).collect()
}

fn fewer_keys(plan: &Plan) -> Vec<Plan> {
    let cuts = smaller_numbers(u64::from(plan.keys), 1).into_iter();
    cuts.map(|keys| Plan { keys: keys as u16, ..plan.clone() }).collect()
}

fn fewer_requests(plan: &Plan) -> Vec<Plan> {
    let cuts = smaller_numbers(plan.max_requests as u64, 1).into_iter();
    cuts.map(|requests| Plan { max_requests: requests as usize, ..plan.clone() }).collect()
}

/// Numbers from `least` up to `number`, ever nearer to it: the half, three quarters, seven eighths.
fn smaller_numbers(number: u64, least: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut away = number.saturating_sub(least);
    while away > 0 && numbers.len() < 4 {
        numbers.push(number - away);
        away /= 2;
    }
    numbers
}

/// `set` without all, without either half, without each quarter, ... without each one.
fn smaller_sets<T: Copy + Ord>(set: &BTreeSet<T>) -> Vec<BTreeSet<T>> {
    let all: Vec<T> = set.iter().copied().collect();
    let mut sets = Vec::new();
    let mut size = all.len();
    while size > 0 {
        let left_out = all.chunks(size);
        sets.extend(
            left_out.map(|out| set.iter().copied().filter(|one| !out.contains(one)).collect()),
        );
        size /= 2;
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::Fault;

    /// A plan in which everything may happen.
    fn large() -> Plan {
        Plan {
            servers: 7,
            faults: Fault::ALL.into(),
            requests: Request::ALL.into(),
            ..Plan::draw(7, 600_000)
        }
    }

    #[test]
    fn what_the_failure_does_without_is_taken_out() {
        let needs = |plan: &Plan| {
            plan.has(Fault::Pause)
                && plan.has(Fault::Wipe)
                && plan.requests.contains(&Request::Get)
                && plan.servers >= 4
                && plan.duration_ms >= 45_000
        };
        let Shrunk { plan, tries } = shrink(large(), needs);
        assert!(needs(&plan), "it still fails");
        assert_eq!(plan.faults, BTreeSet::from([Fault::Pause, Fault::Wipe]));
        assert_eq!(plan.requests, BTreeSet::from([Request::Get]));
        assert_eq!((plan.servers, plan.clients, plan.keys, plan.max_requests), (4, 1, 1, 1));
        assert!(plan.duration_ms < 60_000, "{} ms", plan.duration_ms);
        assert!(tries <= MAX_TRIES);
    }

    #[test]
    fn a_failure_that_needs_luck_gets_some_more_seeds() {
        let plan = Plan { seed: 3, ..large() };
        let Shrunk { plan, .. } = shrink(plan, |plan| plan.seed % 3 == 2 || plan.servers == 7);
        assert_eq!((plan.servers, plan.faults.len()), (3, 0));
    }

    #[test]
    fn what_nothing_can_be_taken_from_stays_as_it_is() {
        let plan = large();
        let shrunk = shrink(plan.clone(), |_| false);
        assert_eq!(shrunk.plan, plan);
    }

    #[test]
    fn a_search_ends() {
        let mut runs = 0;
        let mut odd = |_: &Plan| {
            runs += 1;
            runs % 7 == 0
        };
        assert!(shrink(large(), &mut odd).tries <= MAX_TRIES);
    }
}
