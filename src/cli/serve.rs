//! `mokv` and `mokv serve`: one server, in this process, until it is told to stop.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::config::{self, ServeArgs};
use super::exit::CliError;
use super::parent;
use crate::server::{self, LogFormat, Settings};

pub(crate) fn run(args: ServeArgs) -> Result<(), CliError> {
    let settings = config::resolve(&args)?;
    parent::end_with_parent()?;
    start_logging(&settings)?;
    server::run(settings).map_err(|error| CliError::Failed(error.to_string()))
}

/// Log lines go to stderr: stdout belongs to answers, and a server gives none there.
fn start_logging(settings: &Settings) -> Result<(), CliError> {
    // The runtime tries each disk for polled I/O, which few can do, and calls every no an error.
    let quiet = "glommio::reactor=off".parse().expect("a constant directive");
    let level = LevelFilter::from_level(settings.log_level);
    let filter = EnvFilter::default().add_directive(level.into()).add_directive(quiet);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    let started = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CliError::Failed(format!("logging cannot be started: {error}")))
}
