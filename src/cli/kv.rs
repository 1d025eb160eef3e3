//! `mokv get`, `set`, `delete` and `list`.

use std::io::{self, IsTerminal, Read, Write};

use mokv_client::{Client, Item, MAX_VALUE_BYTES, Value};
use serde::Serialize;

use super::client::ClientArgs;
use super::exit::{CliError, tell};
use super::output::{Format, Printer, escape, json_value};

/// The most rows a table may have: all of them are held in memory to align the columns.
const MAX_TABLE_ROWS: usize = 10_000;

const GET_HELP: &str = "\
Output:
  plain  the value's bytes as they are; a newline follows only on a terminal (the default)
  table  KEY, VALUE, REVISION; unprintable bytes as \\n, \\t, \\xNN
  json   {\"key\", \"value\", \"encoding\", \"revision\"}; encoding is utf8, or base64 for other values

Exits with 3 when the key has no value.";

/// Prints the value of a key.
#[derive(Debug, clap::Args)]
#[command(after_help = GET_HELP)]
pub(crate) struct GetArgs {
    /// The key
    key: String,
    /// Take the answer of whichever member is asked, however old; works without a quorum
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    client: ClientArgs,
}

const SET_HELP: &str = "\
The value is stored byte for byte: `echo` adds a newline, `printf %s` does not. \
A value that begins with a dash goes after two dashes: mokv set KEY -- --VALUE

Output:
  plain  OK (the default)
  table  KEY, REVISION
  json   {\"key\", \"revision\"}

Exits with 4 when nothing was written for want of a quorum, and when nobody can tell whether the \
value was written; stderr says which.";

/// Gives a key a value.
#[derive(Debug, clap::Args)]
#[command(after_help = SET_HELP)]
pub(crate) struct SetArgs {
    /// The key
    key: String,
    /// The value; read from stdin when it is left out or is -
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

const DELETE_HELP: &str = "\
Removing a key that has no value succeeds.

Output:
  plain  OK (the default)
  table  KEY, REVISION
  json   {\"key\", \"revision\"}";

/// Removes a key and its value.
#[derive(Debug, clap::Args)]
#[command(after_help = DELETE_HELP)]
pub(crate) struct DeleteArgs {
    /// The key
    key: String,
    #[command(flatten)]
    client: ClientArgs,
}

const LIST_HELP: &str = "\
All keys are shown as they were at one moment, in no particular order.

Output:
  plain  a line a key: KEY, tab, VALUE; unprintable bytes as \\n, \\t, \\xNN (the default)
  table  KEY, VALUE, REVISION, sorted by key; at most 10000 keys
  json   a line a key: {\"key\", \"value\", \"encoding\", \"revision\"}";

/// Prints all keys and values.
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
pub(crate) struct ListArgs {
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// A key and its value in JSON.
#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
    encoding: &'static str,
    revision: u64,
}

/// An acknowledged write in JSON.
#[derive(Serialize)]
struct Written<'a> {
    key: &'a str,
    revision: u64,
}

pub(crate) fn get(args: GetArgs) -> Result<(), CliError> {
    args.client.run(|client| async move {
        let found = read(&client, &args.key, args.stale).await?;
        let mut printer = Printer::stdout();
        match args.client.output.unwrap_or(Format::Plain) {
            Format::Plain => {
                printer.bytes(&found.value)?;
                if io::stdout().is_terminal() && !found.value.ends_with(b"\n") {
                    printer.bytes(b"\n")?;
                }
            }
            Format::Table => printer.table(&PAIR_HEADER, [pair_row(&item_of(args.key, found))])?,
            Format::Json => print_json_pair(&mut printer, &item_of(args.key, found))?,
        }
        printer.finish()
    })
}

pub(crate) fn set(args: SetArgs) -> Result<(), CliError> {
    let value = match args.value {
        Some(text) if text != "-" => text.into_bytes(),
        Some(_) | None => read_stdin()?,
    };
    let key = args.key;
    let format = args.client.output;
    args.client.run(|client| async move {
        let revision = client.set(key.as_str(), value).await?;
        let mut printer = Printer::stdout();
        print_written(&mut printer, format, &key, revision)?;
        printer.finish()
    })
}

pub(crate) fn delete(args: DeleteArgs) -> Result<(), CliError> {
    let key = args.key;
    let format = args.client.output;
    args.client.run(|client| async move {
        let revision = client.delete(key.as_str()).await?;
        let mut printer = Printer::stdout();
        print_written(&mut printer, format, &key, revision)?;
        printer.finish()
    })
}

pub(crate) fn list(args: ListArgs) -> Result<(), CliError> {
    args.client.run(|client| async move {
        let mut printer = Printer::stdout();
        match args.client.output.unwrap_or(Format::Plain) {
            Format::Plain => {
                each_item(&client, &args.prefix, |item| print_plain_pair(&mut printer, &item))
                    .await?;
            }
            Format::Json => {
                each_item(&client, &args.prefix, |item| print_json_pair(&mut printer, &item))
                    .await?;
            }
            Format::Table => {
                let mut rows = Vec::new();
                each_item(&client, &args.prefix, |item| keep_row(&mut rows, &item)).await?;
                rows.sort();
                printer.table(&PAIR_HEADER, rows)?;
            }
        }
        printer.finish()
    })
}

async fn read(client: &Client, key: &str, stale: bool) -> Result<Value, CliError> {
    let found = if stale { client.get_stale(key).await } else { client.get(key).await };
    Ok(found?)
}

/// Everything on stdin, up to one byte more than a value may have.
fn read_stdin() -> Result<Vec<u8>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        tell("mokv: reading the value from the terminal; Ctrl-D ends it");
    }
    let mut value = Vec::new();
    stdin
        .lock()
        .take(MAX_VALUE_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|source| CliError::Stream { stream: "stdin", source })?;
    Ok(value)
}

async fn each_item(
    client: &Client,
    prefix: &str,
    mut show: impl FnMut(Item) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut list = client.list().await?;
    while let Some(item) = list.next().await? {
        if item.key.starts_with(prefix) {
            show(item)?;
        }
    }
    Ok(())
}

fn keep_row(rows: &mut Vec<[String; 3]>, item: &Item) -> Result<(), CliError> {
    if rows.len() == MAX_TABLE_ROWS {
        let problem = format!("more than {MAX_TABLE_ROWS} keys; use -o plain or -o json");
        return Err(CliError::Failed(problem));
    }
    rows.push(pair_row(item));
    Ok(())
}

const PAIR_HEADER: [&str; 3] = ["KEY", "VALUE", "REVISION"];

fn pair_row(item: &Item) -> [String; 3] {
    let key = escape(item.key.as_bytes()).into_owned();
    [key, escape(&item.value).into_owned(), item.revision.to_string()]
}

fn item_of(key: String, found: Value) -> Item {
    Item { key, value: found.value, revision: found.revision }
}

fn print_plain_pair(printer: &mut Printer<impl Write>, item: &Item) -> Result<(), CliError> {
    let (key, value) = (escape(item.key.as_bytes()), escape(&item.value));
    printer.line(format_args!("{key}\t{value}"))
}

fn print_json_pair(printer: &mut Printer<impl Write>, item: &Item) -> Result<(), CliError> {
    let (value, encoding) = json_value(&item.value);
    let Item { key, revision, .. } = item;
    printer.json(&Pair { key, value: &value, encoding, revision: *revision })
}

fn print_written(
    printer: &mut Printer<impl Write>,
    format: Option<Format>,
    key: &str,
    revision: u64,
) -> Result<(), CliError> {
    match format.unwrap_or(Format::Plain) {
        Format::Plain => printer.line(format_args!("OK")),
        Format::Table => {
            let row = [escape(key.as_bytes()).into_owned(), revision.to_string()];
            printer.table(&["KEY", "REVISION"], [row])
        }
        Format::Json => printer.json(&Written { key, revision }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::printed;

    fn item(value: &'static [u8]) -> Item {
        Item { key: "a\tkey".to_owned(), value: value.into(), revision: 7 }
    }

    #[test]
    fn a_pair_is_one_line_whatever_its_bytes_are() {
        assert_eq!(printed(|p| print_plain_pair(p, &item(b"1\n2"))), "a\\tkey\t1\\n2\n");
        assert_eq!(
            printed(|p| print_json_pair(p, &item(b"1\n2"))),
            "{\"key\":\"a\\tkey\",\"value\":\"1\\n2\",\"encoding\":\"utf8\",\"revision\":7}\n"
        );
        assert_eq!(
            printed(|p| print_json_pair(p, &item(b"\xff"))),
            "{\"key\":\"a\\tkey\",\"value\":\"/w==\",\"encoding\":\"base64\",\"revision\":7}\n"
        );
    }

    #[test]
    fn a_write_is_acknowledged_in_each_format() {
        assert_eq!(printed(|p| print_written(p, None, "k", 7)), "OK\n");
        assert_eq!(
            printed(|p| print_written(p, Some(Format::Table), "k", 7)),
            "KEY   REVISION\nk     7\n"
        );
        assert_eq!(
            printed(|p| print_written(p, Some(Format::Json), "k", 7)),
            "{\"key\":\"k\",\"revision\":7}\n"
        );
    }

    #[test]
    fn a_table_that_would_not_fit_in_memory_is_refused() {
        let mut rows = vec![pair_row(&item(b"v")); MAX_TABLE_ROWS - 1];
        keep_row(&mut rows, &item(b"v")).expect("the last one that fits");
        assert!(keep_row(&mut rows, &item(b"v")).is_err());
    }

    #[test]
    fn the_client_and_the_server_agree_on_the_longest_value() {
        assert_eq!(mokv_client::MAX_VALUE_BYTES, crate::types::MAX_VALUE_BYTES);
    }
}
