//! Bugs planted on purpose: whoever searches for bugs must prove on these that it finds them.
//!
//! Mutation testing of the whole store (DeMillo, Lipton and Sayward, "Hints on Test Data Selection",
//! 1978): each `Bug` is one small mistake that somebody has made before, in a consensus store that
//! shipped, in the errata of a paper or in a classroom. At its site stands `planted!(ItsName)` within
//! a condition. It is `false` unless the crate is compiled with `--cfg planted` and this thread has
//! chosen that bug by `plant`. The simulator plants one at a time and counts the seeds until an
//! invariant, the linearizability checker, a liveness check or an assert of the code itself objects.
//!
//! ```text
//!   without --cfg planted    planted!(X) is the literal false: the optimiser leaves nothing of it
//!   with --cfg planted       planted!(X) asks this thread's cell; Bug and its table exist
//!   ... and a release build  does not compile, nor does the program `mokv`
//! ```
//!
//! A room that decides stays pure: which bug is planted does not change while a run lasts, so the
//! same seed and bug give the same run.

#[cfg(all(planted, not(debug_assertions)))]
compile_error!(
    "planted bugs are for tests: build them with `--profile planted`, never for release"
);

/// Whether the bug of this name is planted; written into a condition at the bug's site.
#[cfg(planted)]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is($crate::planted::Bug::$bug)
    };
}

/// Without `--cfg planted` no bug is, and the condition around it loses nothing.
#[cfg(not(planted))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

#[cfg(planted)]
pub use table::{Bug, is, plant};

#[cfg(planted)]
mod table;
