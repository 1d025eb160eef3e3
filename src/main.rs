//! The `mokv` program: a server, a local cluster, and the commands that talk to one.

#[cfg(planted)]
compile_error!("no server is built with planted bugs");

use std::process::ExitCode;

fn main() -> ExitCode {
    mokv::cli::main().into()
}
