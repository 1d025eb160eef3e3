//! `mokv check`: does every endpoint serve, by itself?
//!
//! Other commands find the member that suits a call best, so they work as long as any member does.
//! This one has a client for each endpoint that asks nobody else.

use std::time::Instant;

use mokv_client::Client;
use serde::Serialize;

use super::client::ClientArgs;
use super::exit::CliError;
use super::output::{Format, Printer};

const CHECK_HELP: &str = "\
A value of its own is written to the key through each endpoint, and read back through all of them. \
The key is removed at the end.

Output:
  table  ENDPOINT, WRITTEN IN, READ IN; a line an endpoint (the default)
  plain  the same without a header, with tabs between the fields
  json   a list of {\"endpoint\", \"written_in_ms\", \"read_in_ms\"}

Exits with 4 when an endpoint does not serve, and with 1 when one reads anything but what was \
written.";

/// Writes and reads a key through every endpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct CheckArgs {
    /// The key to write, whatever it holds
    #[arg(long, value_name = "KEY", default_value = "mokv-check")]
    key: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// What one endpoint did.
#[derive(Serialize)]
struct Checked<'a> {
    endpoint: &'a str,
    /// How long the write through it took.
    written_in_ms: f64,
    /// How long the read through it took, of the value that was written through it.
    read_in_ms: f64,
}

pub(crate) fn run(args: CheckArgs) -> Result<(), CliError> {
    let format = args.client.output.unwrap_or(Format::Table);
    args.client.run_at_each(|clients| async move {
        let mut checked = Vec::new();
        for (endpoint, client) in &clients {
            checked.push(check_one(endpoint, client, &clients, &args.key).await?);
        }
        let (_, last) = clients.last().expect("there is a default endpoint");
        last.delete(args.key.as_str()).await?;
        print(format, &checked)
    })
}

/// Writes through one endpoint, and reads through all, that one first.
async fn check_one<'a>(
    endpoint: &'a str,
    client: &Client,
    clients: &[(String, Client)],
    key: &str,
) -> Result<Checked<'a>, CliError> {
    let value = format!("written through {endpoint}");
    let began = Instant::now();
    client.set(key, value.clone()).await?;
    let written_in_ms = ms_since(began);
    let began = Instant::now();
    read(endpoint, client, key, &value).await?;
    let read_in_ms = ms_since(began);
    for (other, client) in clients.iter().filter(|(other, _)| other != endpoint) {
        read(other, client, key, &value).await?;
    }
    Ok(Checked { endpoint, written_in_ms, read_in_ms })
}

/// Reads through one endpoint what was written before.
async fn read(endpoint: &str, client: &Client, key: &str, written: &str) -> Result<(), CliError> {
    let found = match client.get(key).await {
        Ok(found) if found.value == written => return Ok(()),
        Ok(found) => format!("{:?}", String::from_utf8_lossy(&found.value)),
        Err(mokv_client::Error::NotFound) => "nothing".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Err(CliError::Failed(format!(
        "{endpoint} reads {found} where {written:?} was written: does another client write this \
         key, or do the endpoints belong to different clusters?"
    )))
}

/// With a precision of microseconds.
fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_micros() as f64 / 1_000.0
}

fn print(format: Format, checked: &[Checked<'_>]) -> Result<(), CliError> {
    let ms = |ms: f64| format!("{ms:.1} ms");
    let row = |line: &Checked<'_>| {
        [line.endpoint.to_owned(), ms(line.written_in_ms), ms(line.read_in_ms)]
    };
    let mut rows = checked.iter().map(row);
    let mut printer = Printer::stdout();
    match format {
        Format::Table => printer.table(&["ENDPOINT", "WRITTEN IN", "READ IN"], rows)?,
        Format::Plain => {
            rows.try_for_each(|row| printer.line(format_args!("{}", row.join("\t"))))?;
        }
        Format::Json => printer.json(&checked)?,
    }
    printer.finish()
}
