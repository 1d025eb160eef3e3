//! The `mokv` program: a server, a local cluster, and the commands that talk to one.

#[cfg(planted)]
compile_error!("no server is built with planted bugs");

use std::panic;
use std::process::{self, ExitCode};

fn main() -> ExitCode {
    abort_on_panic();
    mokv::cli::main().into()
}

/// A broken invariant ends the process, on whatever thread it shows: a server never limps on.
fn abort_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::abort();
    }));
}
