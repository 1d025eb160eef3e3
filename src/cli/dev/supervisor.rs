//! Keeps the servers of a dev cluster running: one task a node.
//!
//! ```text
//!             spawned            SERVING
//!   (start) ──────────► starting ────────► ready
//!                 ▲        │                 │
//!                 │        │ process ends    │ process ends
//!     after a     │        ▼                 ▼
//!     pause       └──────── ended ◄──────────┘
//!
//!   stop in any state: SIGTERM, wait, SIGKILL when it takes too long or is asked for twice
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mokv_client::{Client, Options};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::plan::NodePlan;
use crate::cli::config;
use crate::cli::parent::PARENT_PID_ENV;

/// The pause before a server that ended is started again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server that ran this long starts again after the first pause.
const STEADY_AFTER: Duration = Duration::from_secs(30);
/// The pause between two questions for a server's health.
const HEALTH_PAUSE: Duration = Duration::from_millis(50);
/// How long a question for a server's health may take.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);
/// How much longer than its drain timeout a server may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What the servers shall do. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Run, and start again when ended.
    Run,
    /// Stop in good order.
    Stop,
    /// Stop at once.
    Kill,
}

/// What happened to the server with this number (its place in the plan).
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) node: usize,
    pub(crate) news: News,
}

#[derive(Debug)]
pub(crate) enum News {
    /// It answers health checks with SERVING: it knows a leader and has caught up.
    Ready,
    /// It ended without having been asked to, by itself or by a signal, and will be started again after
    /// `pause`.
    Ended { how: String, was_killed: bool, pause: Duration },
}

/// Keeps one server running until it is ordered otherwise; then stops it. Logs go to the plan's
/// file, which is begun anew.
///
/// # Errors
/// When the log file or the process cannot be made.
pub(crate) async fn keep_running(
    node: usize,
    plan: NodePlan,
    mut orders: watch::Receiver<Order>,
    events: mpsc::Sender<Event>,
) -> io::Result<()> {
    File::create(&plan.log_path)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let mut child = spawn(&plan)?;
        let started = Instant::now();
        let health = tokio::spawn(tell_when_ready(node, plan.settings.rpc_addr(), events.clone()));
        let ended = tokio::select! {
            ended = child.wait() => Some(ended?),
            () = ordered_to_stop(&mut orders) => None,
        };
        health.abort();
        let Some(status) = ended else {
            let patience = Duration::from_millis(plan.settings.drain_timeout_ms) + STOP_GRACE;
            return stop(child, &mut orders, patience).await;
        };
        if started.elapsed() >= STEADY_AFTER {
            pause = FIRST_PAUSE;
        }
        let was_killed = status.signal().is_some();
        let news = News::Ended { how: describe(status), was_killed, pause };
        if events.send(Event { node, news }).await.is_err() {
            return Ok(()); // nobody listens any more: the supervisor is on its way out
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = ordered_to_stop(&mut orders) => return Ok(()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn spawn(plan: &NodePlan) -> io::Result<Child> {
    let log = OpenOptions::new().append(true).open(&plan.log_path)?;
    let mut command = Command::new(std::env::current_exe()?);
    // The plan says it all; what the user's environment says is meant for other servers.
    for name in config::env_names() {
        command.env_remove(name);
    }
    command
        .args(plan.arguments())
        .env(PARENT_PID_ENV, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C reaches the supervisor alone, which stops all in good order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Asks until the server is ready, then says so once.
async fn tell_when_ready(node: usize, rpc_addr: String, events: mpsc::Sender<Event>) {
    let options = Options { timeout: HEALTH_TIMEOUT, ..Options::default() };
    let client = Client::new([rpc_addr.clone()], options).expect("a planned address is host:port");
    // Any error means "not yet": the process may still be opening its port.
    while !matches!(client.health(&rpc_addr, "").await, Ok(true)) {
        sleep(HEALTH_PAUSE).await;
    }
    // When nobody listens any more, nobody needs to know.
    let _closed = events.send(Event { node, news: News::Ready }).await;
}

/// Returns once the order is to stop, or nobody gives orders any more.
async fn ordered_to_stop(orders: &mut watch::Receiver<Order>) {
    let _closed = orders.wait_for(|order| *order >= Order::Stop).await;
}

async fn stop(
    mut child: Child,
    orders: &mut watch::Receiver<Order>,
    patience: Duration,
) -> io::Result<()> {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id as i32)) {
        match kill_process(pid, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    tokio::select! {
        ended = timeout(patience, child.wait()) => {
            if let Ok(ended) = ended {
                return ended.map(drop);
            }
        }
        _killed = orders.wait_for(|order| *order >= Order::Kill) => {}
    }
    child.kill().await
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => format!("ended: {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::dev::plan::plan;

    /// The program that runs here is the test harness. It knows none of a server's flags, so every
    /// server it is started as ends at once.
    #[tokio::test]
    async fn a_server_that_ends_is_told_and_started_again_until_it_is_told_to_stop() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let plan = plan(1, temp.path(), 8400, 4000).expect("no collision").remove(0);
        let log_path = plan.log_path.clone();
        let (orders, order) = watch::channel(Order::Run);
        let (sender, mut events) = mpsc::channel(8);
        let running = tokio::spawn(keep_running(0, plan, order, sender));
        for expected in [FIRST_PAUSE, FIRST_PAUSE * 2] {
            let Some(Event { news: News::Ended { how, pause, .. }, .. }) = events.recv().await
            else {
                panic!("the server did not end")
            };
            assert!(how.starts_with("ended with exit code"), "{how}");
            assert_eq!(pause, expected);
        }
        orders.send_replace(Order::Stop);
        running.await.expect("no panic").expect("no error");
        let log = std::fs::read_to_string(log_path).expect("the log is kept");
        assert!(log.contains("data-dir"), "what the server printed is in its log: {log}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_stop_in_time_or_twice_asked_is_killed() {
        let deaf = || {
            let script = "trap '' TERM; echo deaf; while true; do sleep 1; done";
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("sh")
        };
        for (patience, order) in
            [(Duration::from_millis(50), Order::Stop), (Duration::from_secs(3600), Order::Kill)]
        {
            let mut child = deaf();
            // Once it has spoken, it no longer hears SIGTERM.
            let mut stdout = child.stdout.take().expect("piped");
            let mut word = [0; 4];
            tokio::io::AsyncReadExt::read_exact(&mut stdout, &mut word).await.expect("it speaks");
            let (_orders, mut orders) = watch::channel(order);
            stop(child, &mut orders, patience).await.expect("it can be killed");
        }
    }
}
