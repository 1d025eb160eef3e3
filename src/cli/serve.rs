//! `mokv` and `mokv serve`: one server, in this process, until it is told to stop.

use std::io;

use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(settings.log_directives()))
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    let started = match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| CliError::Failed(format!("logging cannot be started: {error}")))
}
