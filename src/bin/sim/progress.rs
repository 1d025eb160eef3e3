//! How far the seeds have come: a bar on a terminal, a line now and then elsewhere. All on stderr.

use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

use crate::report::simulated;
use crate::sweep::Totals;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(15);
const BAR: &str = "{bar:30} {human_pos}/{human_len} seeds, {eta} left, {msg}";
const NO_BAR: &str = "{spinner} {human_pos} seeds in {elapsed}, {msg}";

/// Shows the totals as they grow.
pub(crate) struct Progress {
    bar: ProgressBar,
    line_at: Instant,
}

impl Progress {
    /// Of so many seeds, if that is known.
    pub(crate) fn new(seeds: Option<u64>) -> Progress {
        let (bar, template) = match seeds {
            Some(seeds) => (ProgressBar::new(seeds), BAR),
            None => (ProgressBar::new_spinner(), NO_BAR),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        Progress { bar: bar.with_style(style), line_at: Instant::now() + LINE_EVERY }
    }

    /// Shows how far it is.
    pub(crate) fn show(&mut self, totals: &Totals) {
        let Totals { seeds, failures, simulated_ms, tally, .. } = totals;
        let message = format!(
            "{} simulated, {}x real time on one core, {} faults, {} requests, {failures} violations",
            simulated(*simulated_ms),
            HumanCount(totals.rate() as u64),
            HumanCount(tally.faults.iter().sum()),
            HumanCount(tally.requests),
        );
        if self.bar.is_hidden() && Instant::now() >= self.line_at {
            eprintln!("{} seeds, {message}", HumanCount(*seeds));
            self.line_at = Instant::now() + LINE_EVERY;
        }
        self.bar.set_message(message);
        self.bar.set_position(*seeds);
    }

    /// Lets something else be printed.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Makes room for what follows.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}
