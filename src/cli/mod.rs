//! The command line: parse, check once, run.
//!
//! ```text
//!   mokv [serve]            a server                       serve.rs, settings from config.rs
//!   mokv doctor             would a server start here?     doctor.rs
//!   mokv dev                a cluster of child processes   dev/
//!   mokv get|set|...        one call to a cluster          kv.rs, members.rs, through mokv-client
//!   mokv check              does each endpoint serve?      check.rs
//! ```
//!
//! Verbs and flags follow etcdctl where it has them. Answers go to stdout and everything else to
//! stderr, one line an error; `exit.rs` has the exit codes.

mod check;
mod client;
mod config;
mod dev;
mod doctor;
mod exit;
mod kubernetes;
mod kv;
mod members;
mod output;
mod parent;
mod serve;

use clap::{Parser, Subcommand};

pub use exit::Exit;

const ABOUT: &str = "A replicated in-memory key-value store";

const LONG_ABOUT: &str = "\
A replicated in-memory key-value store.

Without a command, mokv starts a server with the options below, like `mokv serve`. \
To see a cluster at work on this machine, run `mokv dev`, and then, in another terminal, \
`mokv set greeting hello` and `mokv get greeting`.";

/// What the program was asked to do.
#[derive(Debug, Parser)]
#[command(name = "mokv", version, about = ABOUT, long_about = LONG_ABOUT, after_help = exit::HELP)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: config::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server
    Serve(config::ServeArgs),
    /// Run a local cluster until Ctrl-C; its data stays for the next time
    Dev(dev::DevArgs),
    /// Look for whatever would stop a server on this machine
    Doctor(doctor::DoctorArgs),
    /// Print the value of a key
    Get(kv::GetArgs),
    /// Give a key a value
    Set(kv::SetArgs),
    /// Remove a key and its value
    Delete(kv::DeleteArgs),
    /// Print all keys and values
    List(kv::ListArgs),
    /// Write and read a key through every endpoint
    Check(check::CheckArgs),
    /// Print the members of the cluster
    Servers(members::ServersArgs),
    /// Print what every member knows of itself
    Status(members::StatusArgs),
    /// Remove one member from its cluster for good
    Leave(members::LeaveArgs),
    /// Hand leadership to another member
    TransferLeadership(members::TransferLeadershipArgs),
}

/// Runs the program with the arguments of this process.
pub fn main() -> Exit {
    match Cli::try_parse() {
        Ok(cli) => Exit::report(run(cli)),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
            match error.print() {
                Ok(()) => exit,
                Err(source) => Exit::report(Err(exit::CliError::stdout(source))),
            }
        }
    }
}

fn run(cli: Cli) -> Result<(), exit::CliError> {
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Dev(args)) => dev::run(args),
        Some(Command::Doctor(args)) => doctor::run(args),
        Some(Command::Get(args)) => kv::get(args),
        Some(Command::Set(args)) => kv::set(args),
        Some(Command::Delete(args)) => kv::delete(args),
        Some(Command::List(args)) => kv::list(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Servers(args)) => members::servers(args),
        Some(Command::Status(args)) => members::status(args),
        Some(Command::Leave(args)) => members::leave(args),
        Some(Command::TransferLeadership(args)) => members::transfer_leadership(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_mokv_is_a_server() {
        for line in ["mokv", "mokv --config-file=x.yaml", "mokv --rpc-port 8410 --bootstrap"] {
            assert!(parse(line).expect(line).command.is_none());
        }
        let serve = parse("mokv serve --data-dir d --start-join-addrs a:1,b:2").expect("valid");
        assert!(matches!(serve.command, Some(Command::Serve(_))));
    }

    #[test]
    fn server_options_before_another_command_are_refused() {
        assert!(parse("mokv --data-dir d get k").is_err());
    }

    #[test]
    fn a_mistyped_flag_or_command_is_answered_with_the_right_one() {
        let flag = parse("mokv --data-dri d").expect_err("no such flag").to_string();
        assert!(flag.contains("--data-dir"), "{flag}");
        let command = parse("mokv gett k").expect_err("no such command").to_string();
        assert!(command.contains("get"), "{command}");
    }

    #[test]
    fn values_may_be_negative_numbers_and_anything_after_two_dashes() {
        for line in ["mokv set k -5", "mokv set k -- --flag", "mokv set k -", "mokv set k"] {
            assert!(matches!(parse(line).expect(line).command, Some(Command::Set(_))));
        }
    }
}
