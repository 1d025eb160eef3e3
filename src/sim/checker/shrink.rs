//! Cuts a key's contradiction down to the few operations that make it.
//!
//! Parts of the steps are left out, halves first, then ever smaller parts, as long as what is left
//! still has no order (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
//! 2002). [`Projection::reduced_to`] says why what is left is itself a proof.

use crate::sim::history::History;

use super::projection::Projection;
use super::register::{Verdict, search};
use super::{Kind, Violation};

/// The most searches that are spent on one explanation.
const MAX_SEARCHES: usize = 300;
/// The most configurations of each of them.
const MAX_CONFIGURATIONS: usize = 20_000;

/// The violation that a projection without an order is.
pub(super) fn explain(history: &History, projection: Projection) -> Violation {
    let key = projection.key;
    let core = shrink(projection);
    let mut what = format!("no order of these operations on {key} explains what they found");
    let deletes = core.unknown_deletes_us.len();
    if deletes > 0 {
        what += &format!(", {deletes} deletes of unknown fate considered");
    }
    let ids = core.steps.iter().map(|step| step.id).collect();
    Violation::new(Kind::Register(key), what, history, ids)
}

/// A small part of the projection that has no order either.
fn shrink(mut projection: Projection) -> Projection {
    if let Verdict::Stuck { step } = search(&projection, MAX_CONFIGURATIONS) {
        let until_us = projection.steps[step].answered_us;
        let before = projection.reduced_to(|at| projection.steps[at].called_us <= until_us);
        if is_stuck(&before) {
            projection = before;
        }
    }
    let mut part = projection.steps.len().div_ceil(2);
    let mut searches = 0;
    while part > 0 && searches < MAX_SEARCHES {
        let mut start = 0;
        while start < projection.steps.len() && searches < MAX_SEARCHES {
            let without = projection.reduced_to(|at| at < start || at >= start + part);
            searches += 1;
            if without.steps.len() < projection.steps.len() && is_stuck(&without) {
                projection = without;
            } else {
                start += part;
            }
        }
        part /= 2;
    }
    projection
}

fn is_stuck(projection: &Projection) -> bool {
    matches!(search(projection, MAX_CONFIGURATIONS), Verdict::Stuck { .. })
}
