//! What the program can be asked, and the command line that asks for a given plan.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use std::path::PathBuf;
use std::thread;

use clap::Parser;
use mokv::sim::plan::{Fault, Founding, Plan, Request};

const DEFAULT_MINUTES: f64 = 10.0;
const MS_PER_MINUTE: f64 = 60_000.0;
/// An empty set of faults, on the command line.
const NONE: &str = "none";

/// Run whole clusters in one thread each, from one seed each, and look for broken promises
#[derive(Debug, Parser)]
#[command(name = "sim")]
pub(crate) struct Args {
    /// How many seeds to run [default: 100; with a planted bug, at most 1000]
    #[arg(long, value_name = "N")]
    pub(crate) seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) start: u64,
    /// Run seeds for so many minutes instead, from one on that no soak has begun with
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["seeds", "start"])]
    pub(crate) soak: Option<f64>,
    /// Run this seed alone and print all that happens in it
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "start", "soak"])]
    pub(crate) seed: Option<u64>,
    /// Write what the clients of that seed saw to FILE as JSON lines, and to FILE.edn as EDN
    #[arg(long, value_name = "FILE", requires = "seed")]
    pub(crate) history: Option<PathBuf>,
    /// How long faults go on in each seed, in minutes of simulated time [default: 10]
    #[arg(long)]
    minutes: Option<f64>,
    /// How many seeds run at the same time [default: one a core]
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop after so many seeds that failed
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) max_failures: u64,
    /// Plant each bug, or the one named, and count the seeds until it is caught; for `make planted`
    #[cfg(planted)]
    #[arg(long, value_name = "NAME", conflicts_with = "soak")]
    pub(crate) planted: Option<Option<String>>,
    #[command(flatten, next_help_heading = "Instead of what the seed draws")]
    overrides: Overrides,
}

/// What is to be as said, and not as drawn.
#[derive(Debug, Default, clap::Args)]
struct Overrides {
    /// Servers at the start
    #[arg(long)]
    servers: Option<usize>,
    /// What may go wrong, such as Kill,Pause; or none
    #[arg(long, value_parser = parse_faults)]
    faults: Option<BTreeSet<Fault>>,
    /// The mean time between two faults
    #[arg(long)]
    fault_interval_ms: Option<u64>,
    /// What clients ask, such as Set,Get
    #[arg(long, value_parser = parse_requests)]
    requests: Option<BTreeSet<Request>>,
    /// Clients that ask at the same time
    #[arg(long)]
    clients: Option<usize>,
    /// The most requests of all clients together
    #[arg(long)]
    max_requests: Option<usize>,
    /// Different keys
    #[arg(long)]
    keys: Option<u16>,
    /// The most bytes of a value
    #[arg(long)]
    value_bytes: Option<usize>,
    /// A message takes this long, from and to, such as 50,400
    #[arg(long, value_parser = parse_range)]
    latency_us: Option<(u64, u64)>,
    /// A snapshot is taken after this much log
    #[arg(long)]
    snapshot_log_bytes: Option<u64>,
    /// How much log is kept behind a snapshot
    #[arg(long)]
    retained_log_bytes: Option<u64>,
    /// The size of a segment of the log
    #[arg(long)]
    segment_bytes: Option<u64>,
    /// The size of the parts in which a snapshot is sent
    #[arg(long)]
    chunk_bytes: Option<usize>,
    /// The most bytes of entries in one append
    #[arg(long)]
    append_bytes: Option<usize>,
    /// The most appends on their way to a follower
    #[arg(long)]
    appends: Option<usize>,
    /// Who makes the cluster: One or Together
    #[arg(long, value_parser = parse_founding)]
    founding: Option<Founding>,
    /// The dead are removed after this time; 0: never
    #[arg(long)]
    dead_after_ms: Option<u64>,
}

impl Args {
    /// The plan of `seed`, with what the command line has to say about it.
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let drawn = Plan::draw(seed, duration_ms(self.minutes.unwrap_or(DEFAULT_MINUTES)));
        self.overrides.apply(drawn)
    }

    /// The same where the command line does not say how long seeds last.
    #[cfg(planted)]
    pub(crate) fn plan_for(&self, seed: u64, minutes: f64) -> Plan {
        let drawn = Plan::draw(seed, duration_ms(self.minutes.unwrap_or(minutes)));
        self.overrides.apply(drawn)
    }

    /// How many threads run seeds.
    pub(crate) fn jobs(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or_else(cores).max(1)
    }
}

impl Overrides {
    fn apply(&self, drawn: Plan) -> Plan {
        Plan {
            seed: drawn.seed,
            duration_ms: drawn.duration_ms,
            servers: self.servers.unwrap_or(drawn.servers),
            faults: self.faults.clone().unwrap_or(drawn.faults),
            fault_interval_ms: self.fault_interval_ms.unwrap_or(drawn.fault_interval_ms),
            requests: self.requests.clone().unwrap_or(drawn.requests),
            clients: self.clients.unwrap_or(drawn.clients),
            max_requests: self.max_requests.unwrap_or(drawn.max_requests),
            keys: self.keys.unwrap_or(drawn.keys),
            value_bytes: self.value_bytes.unwrap_or(drawn.value_bytes),
            latency_us: self.latency_us.unwrap_or(drawn.latency_us),
            snapshot_log_bytes: self.snapshot_log_bytes.unwrap_or(drawn.snapshot_log_bytes),
            retained_log_bytes: self.retained_log_bytes.unwrap_or(drawn.retained_log_bytes),
            segment_bytes: self.segment_bytes.unwrap_or(drawn.segment_bytes),
            chunk_bytes: self.chunk_bytes.unwrap_or(drawn.chunk_bytes),
            append_bytes: self.append_bytes.unwrap_or(drawn.append_bytes),
            appends: self.appends.unwrap_or(drawn.appends),
            founding: self.founding.unwrap_or(drawn.founding),
            dead_after_ms: self.dead_after_ms.unwrap_or(drawn.dead_after_ms),
        }
    }
}

/// The options that replay `plan`: its seed, and whatever that seed would draw otherwise.
pub(crate) fn options_for(plan: &Plan) -> String {
    let drawn = Plan::draw(plan.seed, duration_ms(DEFAULT_MINUTES));
    let mut options = format!("--seed {}", plan.seed);
    let mut differs = |name: &str, drawn: String, wanted: String| {
        if drawn != wanted {
            write!(options, " --{name} {wanted}").expect("a String takes all");
        }
    };
    let number = |number: u64| number.to_string();
    let range = |(from, to): (u64, u64)| format!("{from},{to}");
    let mut number_differs =
        |name: &str, drawn: u64, wanted: u64| differs(name, number(drawn), number(wanted));
    number_differs("servers", drawn.servers as u64, plan.servers as u64);
    number_differs("fault-interval-ms", drawn.fault_interval_ms, plan.fault_interval_ms);
    number_differs("clients", drawn.clients as u64, plan.clients as u64);
    number_differs("max-requests", drawn.max_requests as u64, plan.max_requests as u64);
    number_differs("keys", drawn.keys.into(), plan.keys.into());
    number_differs("value-bytes", drawn.value_bytes as u64, plan.value_bytes as u64);
    number_differs("snapshot-log-bytes", drawn.snapshot_log_bytes, plan.snapshot_log_bytes);
    number_differs("retained-log-bytes", drawn.retained_log_bytes, plan.retained_log_bytes);
    number_differs("segment-bytes", drawn.segment_bytes, plan.segment_bytes);
    number_differs("chunk-bytes", drawn.chunk_bytes as u64, plan.chunk_bytes as u64);
    number_differs("append-bytes", drawn.append_bytes as u64, plan.append_bytes as u64);
    number_differs("appends", drawn.appends as u64, plan.appends as u64);
    number_differs("dead-after-ms", drawn.dead_after_ms, plan.dead_after_ms);
    differs("founding", format!("{:?}", drawn.founding), format!("{:?}", plan.founding));
    differs("latency-us", range(drawn.latency_us), range(plan.latency_us));
    differs("minutes", minutes(drawn.duration_ms), minutes(plan.duration_ms));
    differs("requests", names(&drawn.requests), names(&plan.requests));
    differs("faults", names(&drawn.faults), names(&plan.faults));
    options
}

fn duration_ms(minutes: f64) -> u64 {
    (minutes * MS_PER_MINUTE).round() as u64
}

fn minutes(duration_ms: u64) -> String {
    (duration_ms as f64 / MS_PER_MINUTE).to_string()
}

fn names<T: Debug>(set: &BTreeSet<T>) -> String {
    if set.is_empty() {
        return NONE.to_owned();
    }
    set.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>().join(",")
}

fn parse_faults(text: &str) -> Result<BTreeSet<Fault>, String> {
    if text == NONE { Ok(BTreeSet::new()) } else { parse_set(text, &Fault::ALL) }
}

fn parse_founding(text: &str) -> Result<Founding, String> {
    parse_one(text, &[Founding::One, Founding::Together])
}

fn parse_requests(text: &str) -> Result<BTreeSet<Request>, String> {
    parse_set(text, &Request::ALL)
}

fn parse_set<T: Copy + Debug + Ord>(text: &str, all: &[T]) -> Result<BTreeSet<T>, String> {
    text.split(',').map(|name| parse_one(name, all)).collect()
}

fn parse_one<T: Copy + Debug>(name: &str, all: &[T]) -> Result<T, String> {
    let known = all.iter().copied().find(|one| format!("{one:?}") == name);
    known.ok_or_else(|| format!("no such name: {name}; there are {all:?}"))
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let numbers =
        text.split_once(',').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let range = numbers.ok_or_else(|| "two numbers are needed, such as 50,400".to_owned())?;
    if range.0 > range.1 { Err("from is more than to".to_owned()) } else { Ok(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(options: &str) -> Args {
        Args::parse_from(["sim"].into_iter().chain(options.split(' ')))
    }

    #[test]
    fn a_seed_alone_replays_what_it_draws() {
        let plan = Plan::draw(77, 600_000);
        assert_eq!(options_for(&plan), "--seed 77");
        assert_eq!(parsed("--seed 77").plan(77), plan);
    }

    #[test]
    fn the_options_of_a_plan_ask_for_that_plan() {
        let shrunk = Plan {
            servers: 3,
            duration_ms: 24_600,
            faults: [Fault::Kill, Fault::Pause].into(),
            requests: [Request::Get].into(),
            clients: 1,
            latency_us: (1, 2),
            founding: Founding::One,
            dead_after_ms: 7_000,
            ..Plan::draw(77, 600_000)
        };
        let none = Plan { faults: BTreeSet::new(), ..shrunk.clone() };
        let other_seed = Plan { seed: 78, ..shrunk.clone() };
        for plan in [shrunk, none, other_seed] {
            let options = options_for(&plan);
            assert_eq!(parsed(&options).plan(plan.seed), plan, "{options}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(parse_faults("Kill,Kil").expect_err("it is misspelt").contains("Kil"));
        assert!(parse_requests("").is_err());
        assert!(parse_range("5,4").is_err());
    }
}
