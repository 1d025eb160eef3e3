//! What `mokv dev` shows. All of it goes to stderr, like the rest of what is no answer; if nobody
//! reads it, the cluster runs on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::plan::NodePlan;
use crate::cli::exit::tell;

/// How often a spinner turns.
const SPIN: Duration = Duration::from_millis(100);
/// How much of the end of a log is looked at.
const TAIL_BYTES: u64 = 4096;
/// How many lines of it are shown.
const TAIL_LINES: usize = 10;

/// A line for each node while the cluster starts, and messages afterwards.
pub(super) struct Screen {
    lines: MultiProgress,
    nodes: Vec<NodeLine>,
}

struct NodeLine {
    name: String,
    log: String,
    since: Instant,
    bar: ProgressBar,
}

impl Screen {
    /// Begins with every node starting.
    pub(super) fn new(plans: &[NodePlan], data_dir: &Path) -> Screen {
        let lines = MultiProgress::new();
        let count = plans.len();
        say(&lines, &format!("starting {count} nodes, data in {}", data_dir.display()));
        let style = ProgressStyle::with_template("  {spinner} {msg}")
            .expect("the template has no errors")
            .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ");
        let nodes = plans
            .iter()
            .map(|plan| {
                let name = plan.settings.node_name.clone();
                let bar = lines.add(ProgressBar::new_spinner().with_style(style.clone()));
                bar.set_message(format!("{name} is starting"));
                bar.enable_steady_tick(SPIN);
                let log = plan.log_path.display().to_string();
                NodeLine { name, log, since: Instant::now(), bar }
            })
            .collect();
        Screen { lines, nodes }
    }

    /// A node serves.
    pub(super) fn ready(&mut self, node: usize) {
        let line = &self.nodes[node];
        let text =
            format!("{} is ready after {:.1} s", line.name, line.since.elapsed().as_secs_f64());
        line.bar.finish_and_clear();
        say(&self.lines, &text);
    }

    /// A node that served ended.
    pub(super) fn ended(&mut self, node: usize, how: &str, pause: Duration) {
        let line = &mut self.nodes[node];
        line.since = Instant::now();
        let (name, log, seconds) = (&line.name, &line.log, pause.as_secs_f64());
        say(
            &self.lines,
            &format!("{name} {how}; starting it again in {seconds:.1} s (log: {log})"),
        );
    }

    /// Everybody serves: addresses, and what to do with them.
    pub(super) fn welcome(&self, plans: &[NodePlan]) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["NODE", "CLIENTS", "PEERS", "METRICS", "LOG"]);
        for plan in plans {
            let settings = &plan.settings;
            table.add_row([
                settings.node_name.clone(),
                settings.rpc_addr(),
                settings.bind_addr.clone(),
                format!("http://{}/metrics", settings.metrics_addr()),
                plan.log_path.display().to_string(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        let rows: Vec<String> =
            table.lines().map(|line| format!("  {}", line.trim_end())).collect();
        say(&self.lines, &format!("\n{}\n\n{}", rows.join("\n"), commands(plans)));
    }

    /// The cluster has been told to stop.
    pub(super) fn stopping(&self) {
        for line in &self.nodes {
            line.bar.finish_and_clear();
        }
        say(&self.lines, "stopping all nodes; once more to kill them");
    }

    /// All nodes have ended.
    pub(super) fn stopped(&self, data_dir: &Path) {
        say(&self.lines, &format!("stopped; the data stays in {}", data_dir.display()));
    }

    /// Something went wrong with a node while it was stopped.
    pub(super) fn trouble(&self, what: &str) {
        say(&self.lines, what);
    }
}

/// The end of a log, for a message that says why a server ended.
pub(super) fn tail(path: &Path) -> String {
    let shown = path.display();
    match read_tail(path) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            format!("the end of {shown}:\n  {}", last.join("\n  "))
        }
        Err(error) => format!("{shown} cannot be read: {error}"),
    }
}

fn read_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What to try, in another terminal. Given all addresses, the commands work whichever node is down.
fn commands(plans: &[NodePlan]) -> String {
    let addrs: Vec<String> = plans.iter().map(|plan| plan.settings.rpc_addr()).collect();
    format!(
        "  export MOKV_ENDPOINTS={}\n  mokv set greeting hello\n  mokv get greeting\n  \
         mokv status\n\n  kill -9 any one node, and it comes back; Ctrl-C here stops them all and \
         keeps their data",
        addrs.join(",")
    )
}

/// Prints above the spinners.
fn say(lines: &MultiProgress, text: &str) {
    lines.suspend(|| tell(text));
}
