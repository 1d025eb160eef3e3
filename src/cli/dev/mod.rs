//! `mokv dev`: a whole cluster on this machine, for trying things out.
//!
//! Its servers are child processes of this same executable, with the same flags anybody would give
//! them. This process only watches: it shows how they start, starts again what ends, and stops them
//! all on Ctrl-C. Their data stays for the next run.

mod plan;
mod screen;
mod supervisor;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::plan::NodePlan;
use self::screen::Screen;
use self::supervisor::{Event, News, Order, keep_running};
use super::exit::CliError;
use crate::server::preflight;

/// How long a cluster may take until every node is ready.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// Events that wait to be shown. A task that finds this full waits; nothing is lost.
const EVENT_QUEUE: usize = 64;

const HELP: &str = "\
Node 1 has the default ports, so that `mokv get` and the other commands find it without --endpoints. \
Clients of node N are served on the base port + 10 * (N - 1), gossip and peers on the port after it, \
metrics on the metrics base port + 10 * (N - 1).

Ctrl-C stops the cluster and keeps its data; delete the data directory to begin anew. \
A second Ctrl-C kills it.";

/// Runs a local cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Keep data and logs here [default: mokv/dev in the user's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The client port of node 1
    #[arg(long, value_name = "PORT", default_value_t = 8400)]
    base_port: u16,
    /// The metrics port of node 1
    #[arg(long, value_name = "PORT", default_value_t = 4000)]
    metrics_base_port: u16,
}

pub(crate) fn run(args: DevArgs) -> Result<(), CliError> {
    let data_dir =
        args.data_dir.unwrap_or_else(|| default_data_dir(&|name| std::env::var_os(name)));
    let plans = plan::plan(args.nodes, &data_dir, args.base_port, args.metrics_base_port)
        .map_err(CliError::Usage)?;
    fs::create_dir_all(&data_dir).map_err(|error| {
        let dir = data_dir.display();
        CliError::Failed(format!("{dir} cannot be made: {error}; choose another --data-dir"))
    })?;
    check(&plans)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("no event loop: {error}")))?;
    runtime.block_on(supervise(plans, &data_dir))
}

/// `$XDG_DATA_HOME/mokv/dev`, or what stands for it: a place that outlives a reboot, where there is
/// a home.
fn default_data_dir(env: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> PathBuf {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("mokv").join("dev")
}

/// Makes the servers' own checks before any is started, so that a fault is told once and clearly.
fn check(plans: &[NodePlan]) -> Result<(), CliError> {
    let mut told = BTreeSet::new();
    for plan in plans {
        if let Err(error) = preflight::run(&plan.settings).into_result() {
            for (name, finding) in error.failed {
                told.insert(format!("{name}: {finding}"));
            }
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = told.into_iter().collect();
    Err(CliError::Failed(format!("the cluster cannot start:\n{}", told.join("\n"))))
}

/// Runs the servers until a signal comes or the cluster fails to start, and then stops them.
async fn supervise(plans: Vec<NodePlan>, data_dir: &Path) -> Result<(), CliError> {
    let (orders, order) = watch::channel(Order::Run);
    let (sender, events) = mpsc::channel(EVENT_QUEUE);
    let mut signals = Signals::new()?;
    let mut nodes = JoinSet::new();
    for (node, plan) in plans.iter().enumerate() {
        nodes.spawn(keep_running(node, plan.clone(), order.clone(), sender.clone()));
    }
    let mut screen = Screen::new(&plans, data_dir);
    let result = watch_over(&plans, events, &mut nodes, &mut signals, &mut screen).await;
    // The nodes' senders end with `events`; from here on they only obey.
    orders.send_replace(Order::Stop);
    screen.stopping();
    loop {
        tokio::select! {
            ended = nodes.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => screen.trouble(&error.to_string()),
                Some(Err(panic)) => screen.trouble(&panic.to_string()),
            },
            () = signals.next() => drop(orders.send_replace(Order::Kill)),
        }
    }
    screen.stopped(data_dir);
    result
}

/// Shows what happens until somebody wants the cluster to stop, or it cannot go on.
async fn watch_over(
    plans: &[NodePlan],
    mut events: mpsc::Receiver<Event>,
    nodes: &mut JoinSet<std::io::Result<()>>,
    signals: &mut Signals,
    screen: &mut Screen,
) -> Result<(), CliError> {
    let deadline = Instant::now() + READY_PATIENCE;
    let mut waiting: BTreeSet<usize> = (0..plans.len()).collect();
    loop {
        let started = waiting.is_empty();
        tokio::select! {
            () = signals.next() => return Ok(()),
            () = sleep_until(deadline), if !started => {
                let names: Vec<&str> = waiting.iter().map(|n| name(&plans[*n])).collect();
                let logs = screen::tail(&plans[*waiting.first().expect("somebody is awaited")].log_path);
                return Err(CliError::Failed(format!(
                    "not ready after {} s: {}\n{logs}", READY_PATIENCE.as_secs(), names.join(", ")
                )));
            }
            Some(ended) = nodes.join_next() => {
                let cause = match ended {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic.to_string(),
                };
                return Err(CliError::Failed(format!("a server cannot be run: {cause}")));
            }
            Some(Event { node, news }) = events.recv() => match news {
                News::Ready => {
                    screen.ready(node);
                    if waiting.remove(&node) && waiting.is_empty() {
                        screen.welcome(plans);
                    }
                }
                // It cannot start, and trying again would not help. One that was killed can.
                News::Ended { how, was_killed: false, .. } if waiting.contains(&node) => {
                    let log = screen::tail(&plans[node].log_path);
                    return Err(CliError::Failed(format!("{} {how}\n{log}", name(&plans[node]))));
                }
                News::Ended { how, pause, .. } => screen.ended(node, &how, pause),
            },
        }
    }
}

fn name(plan: &NodePlan) -> &str {
    &plan.settings.node_name
}

/// The signals that end the cluster: Ctrl-C, kill, and the terminal's end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Signals, CliError> {
        let listen = |kind| {
            signal(kind).map_err(|error| CliError::Failed(format!("no signal handler: {error}")))
        };
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_where_the_user_keeps_data() {
        let dir_for = |vars: &[(&str, &str)]| {
            default_data_dir(&|name| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
            })
        };
        let home = ("HOME", "/u");
        assert_eq!(dir_for(&[home, ("XDG_DATA_HOME", "/x")]), Path::new("/x/mokv/dev"));
        assert_eq!(dir_for(&[home]), Path::new("/u/.local/share/mokv/dev"));
        assert_eq!(
            dir_for(&[home, ("XDG_DATA_HOME", "not/absolute")]),
            Path::new("/u/.local/share/mokv/dev")
        );
        assert_eq!(dir_for(&[]), std::env::temp_dir().join("mokv/dev"));
    }
}
