//! The `sim` program: runs seeds of the simulator on all cores, and shows what they found.
//!
//! ```text
//!   sim --seeds N [--start S]   many seeds        sweep.rs runs them, progress.rs and report.rs show them
//!   sim --soak MINUTES          seeds by time     the same
//!   sim --seed S                one, to be read   replay.rs
//!   sim --planted [NAME]        with bugs         planting.rs; only in builds with `--cfg planted`
//! ```
//!
//! A run is one thread and one seed, and knows nothing of any other: so all that this program adds is
//! threads, counting and printing. What decides is in `mokv::sim`.

#![allow(clippy::print_stdout, reason = "printing is what this program does")]

mod args;
#[cfg(planted)]
mod planting;
mod progress;
mod replay;
mod report;
mod sweep;

use std::io;
use std::panic;
use std::process::ExitCode;
use std::thread;

use clap::Parser;

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    silence_workers();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as it should be.
fn run(args: &Args) -> io::Result<bool> {
    #[cfg(planted)]
    if let Some(name) = &args.planted {
        return planting::with_bugs(args, name.as_deref());
    }
    match args.seed {
        Some(seed) => replay::replay(args, seed),
        None => Ok(sweep::sweep(args)),
    }
}

/// A panic in a run is a violation that is reported like any other, and not printed twice.
fn silence_workers() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() != Some(sweep::WORKER) {
            print(info);
        }
    }));
}
