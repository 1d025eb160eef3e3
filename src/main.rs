//! The `mokv` program: a server, a local cluster, and the commands that talk to one.

use std::process::ExitCode;

fn main() -> ExitCode {
    mokv::cli::main().into()
}
