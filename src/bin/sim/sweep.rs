//! Many seeds on all cores.
//!
//! ```text
//!   counter ──seed──> worker: run ── fails? run again for its text, shrink ──> channel ──> totals
//! ```
//!
//! Which worker takes which seed is up to the machine and changes nothing: seeds share no state.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mokv::sim::plan::{Fault, Plan};
use mokv::sim::shrink::{Shrunk, shrink};
use mokv::sim::trace::Trace;
use mokv::sim::{Outcome, Tally, run};
use rustix::time::{ClockId, clock_gettime};

use crate::args::Args;
use crate::progress::Progress;
use crate::report;

/// The name of every thread that runs seeds.
pub(crate) const WORKER: &str = "worker";
/// How many seeds are run when nobody says.
const DEFAULT_SEEDS: u64 = 100;
/// Results that may wait to be counted.
const MAX_WAITING: usize = 64;

/// A run, and what it cost.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// The time its thread ran for it.
    pub(crate) cpu: Duration,
    /// What is known of its failure, if it failed.
    pub(crate) failure: Option<Failure>,
}

/// What a failing seed shows when looked at again.
pub(crate) struct Failure {
    pub(crate) last_lines: Vec<String>,
    /// Whether the second run was the first one again.
    pub(crate) is_repeatable: bool,
    pub(crate) shrunk: Shrunk,
}

/// All runs together.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    pub(crate) failures: u64,
    pub(crate) simulated_ms: u64,
    pub(crate) cpu: Duration,
    pub(crate) tally: Tally,
    /// How many seeds had each fault, in the order of [`Fault::ALL`].
    pub(crate) seeds_with: [u64; Fault::ALL.len()],
    /// The hashes of all traces in one. A sum, so that the order in which seeds end is no matter.
    pub(crate) trace_hash: u64,
}

/// Which seeds are to be run.
struct Seeds {
    next: AtomicU64,
    /// The seed after the last.
    end: u64,
    deadline: Option<Instant>,
    is_stopped: AtomicBool,
}

/// Runs what the command line asks for; returns whether no seed failed.
pub(crate) fn sweep(args: &Args) -> bool {
    let began = Instant::now();
    let seeds = Seeds::new(args, began);
    let mut progress = Progress::new(args.soak.is_none().then_some(seeds.left()));
    let mut totals = Totals::default();
    if args.soak.is_some() {
        println!("from seed {} on", seeds.next.load(Ordering::Relaxed));
    }
    run_all(args, &seeds, |done| {
        totals.add(&done);
        progress.show(&totals);
        let Done { outcome, failure, .. } = done;
        if let Some(failure) = failure {
            progress.aside(|| report::failure(&outcome, &failure));
        }
        if totals.failures < args.max_failures {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    progress.end();
    report::summary(&totals, began.elapsed());
    totals.failures == 0
}

/// Gives every finished run to `take`, until that breaks off or no seed is left.
fn run_all(args: &Args, seeds: &Seeds, mut take: impl FnMut(Done) -> ControlFlow<()>) {
    let (sender, results) = sync_channel(MAX_WAITING);
    thread::scope(|scope| {
        for _ in 0..args.jobs() {
            let sender = sender.clone();
            let worker = thread::Builder::new().name(WORKER.to_owned());
            worker
                .spawn_scoped(scope, move || work(args, seeds, &sender))
                .expect("a thread starts");
        }
        drop(sender);
        for done in results {
            if take(done).is_break() {
                seeds.is_stopped.store(true, Ordering::Relaxed);
                // Dropping the receiver here ends the workers at their next result.
                break;
            }
        }
    });
}

fn work(args: &Args, seeds: &Seeds, results: &SyncSender<Done>) {
    while let Some(seed) = seeds.take() {
        let began = thread_cpu();
        let outcome = run(args.plan(seed), Trace::silent());
        let cpu = thread_cpu() - began;
        let failure = outcome.violation.is_some().then(|| look_again(&outcome));
        if results.send(Done { outcome, cpu, failure }).is_err() {
            return;
        }
    }
}

/// Runs what failed again, for its text, and looks for less that fails in the same way.
pub(crate) fn look_again(outcome: &Outcome) -> Failure {
    let property = |outcome: &Outcome| outcome.violation.as_ref().map(|found| found.property);
    let again = run(outcome.plan.clone(), Trace::readable(None));
    let fails_so = |plan: &Plan| property(&run(plan.clone(), Trace::silent())) == property(outcome);
    Failure {
        is_repeatable: again.trace_hash == outcome.trace_hash,
        last_lines: again.last_lines,
        shrunk: shrink(outcome.plan.clone(), fails_so),
    }
}

/// How long this thread has run.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Seeds {
    fn new(args: &Args, now: Instant) -> Seeds {
        let (start, end) = match args.soak {
            Some(_) => (unused_seed(), u64::MAX),
            None => {
                let seeds = args.seeds.unwrap_or(DEFAULT_SEEDS);
                (args.start, args.start.saturating_add(seeds))
            }
        };
        Seeds {
            next: AtomicU64::new(start),
            end,
            deadline: args.soak.map(|minutes| now + Duration::from_secs_f64(minutes * 60.0)),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// How many are still to be run.
    fn left(&self) -> u64 {
        self.end - self.next.load(Ordering::Relaxed)
    }

    fn take(&self) -> Option<u64> {
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_late || self.is_stopped.load(Ordering::Relaxed) {
            return None;
        }
        let seed = self.next.fetch_add(1, Ordering::Relaxed);
        (seed < self.end).then_some(seed)
    }
}

/// The time in ms: a seed takes longer than that to run, so no soak meets the seeds of another.
fn unused_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Totals {
    fn add(&mut self, done: &Done) {
        let Done { outcome, cpu, failure } = done;
        self.seeds += 1;
        self.failures += u64::from(failure.is_some());
        self.simulated_ms += outcome.simulated_ms;
        self.cpu += *cpu;
        self.tally += outcome.tally;
        for fault in &outcome.plan.faults {
            self.seeds_with[*fault as usize] += 1;
        }
        let of_seed = outcome.trace_hash ^ outcome.plan.seed.rotate_left(32);
        self.trace_hash = self.trace_hash.wrapping_add(of_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }

    /// How much faster than real time one core is.
    pub(crate) fn rate(&self) -> f64 {
        self.simulated_ms as f64 / 1e3 / self.cpu.as_secs_f64().max(f64::EPSILON)
    }
}
