//! Answers on stdout: plain for pipes, tables for people, JSON for programs.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufWriter, StdoutLock, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::exit::CliError;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The bare answer: a value's bytes, or a line an item with tabs between the fields.
    Plain,
    /// Aligned columns under a header.
    Table,
    /// JSON; fields may be added, never renamed or removed.
    Json,
}

/// Writes answers; failures are errors instead of panics.
pub(crate) struct Printer<W> {
    out: W,
}

impl Printer<BufWriter<StdoutLock<'static>>> {
    /// Writes to stdout, in large pieces.
    pub(crate) fn stdout() -> Self {
        Printer { out: BufWriter::new(io::stdout().lock()) }
    }
}

impl<W: Write> Printer<W> {
    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.out.write_all(bytes).map_err(CliError::stdout)
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: fmt::Arguments<'_>) -> Result<(), CliError> {
        writeln!(self.out, "{text}").map_err(CliError::stdout)
    }

    /// Writes one JSON value on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(|error| CliError::stdout(error.into()))?;
        self.bytes(b"\n")
    }

    /// Writes aligned columns. All cells must be free of control characters; see [`escape`].
    pub(crate) fn table<const N: usize>(
        &mut self,
        header: &[&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), CliError> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(header);
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        for line in table.lines() {
            self.line(format_args!("{}", line.trim_end()))?;
        }
        Ok(())
    }

    /// Sends out what is buffered. To be called last, or a failure goes unseen.
    pub(crate) fn finish(mut self) -> Result<(), CliError> {
        self.out.flush().map_err(CliError::stdout)
    }
}

/// What `print` writes, for tests.
#[cfg(test)]
pub(crate) fn printed(
    print: impl FnOnce(&mut Printer<&mut Vec<u8>>) -> Result<(), CliError>,
) -> String {
    let mut bytes = Vec::new();
    print(&mut Printer { out: &mut bytes }).expect("memory does not fail");
    String::from_utf8(bytes).expect("the answer is text")
}

/// Bytes for a terminal or a field between tabs: text as it is, but control characters, backslashes
/// and whatever is not UTF-8 as `\n`, `\t`, `\\` or `\xNN`. No value can move the cursor or fake a line.
pub(crate) fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let is_plain = |text: &str| text.chars().all(|c| !c.is_control() && c != '\\');
    if let Ok(text) = std::str::from_utf8(bytes)
        && is_plain(text)
    {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => escaped.push_str("\\n"),
                '\t' => escaped.push_str("\\t"),
                '\\' => escaped.push_str("\\\\"),
                c if c.is_control() => {
                    c.to_string().bytes().for_each(|b| push_hex(&mut escaped, b))
                }
                c => escaped.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| push_hex(&mut escaped, *b));
    }
    Cow::Owned(escaped)
}

/// A value for JSON, which has no bytes: its text when it is UTF-8, else its base64, and which.
pub(crate) fn json_value(bytes: &[u8]) -> (Cow<'_, str>, &'static str) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), "utf8"),
        Err(_) => (Cow::Owned(STANDARD.encode(bytes)), "base64"),
    }
}

fn push_hex(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_move_the_cursor_or_fake_a_line() {
        assert_eq!(escape("grüße, 世界".as_bytes()), "grüße, 世界");
        assert_eq!(escape(b"a\nb\tc\\d"), "a\\nb\\tc\\\\d");
        assert_eq!(escape(b"\x1b[2J"), "\\x1b[2J");
        assert_eq!(escape(b"ok\xff\xfe"), "ok\\xff\\xfe");
        assert_eq!(escape("\u{85}".as_bytes()), "\\xc2\\x85");
    }

    #[test]
    fn json_says_how_a_value_is_encoded() {
        assert_eq!(json_value(b"text"), (Cow::Borrowed("text"), "utf8"));
        assert_eq!(json_value(&[0xff, 0x00]), (Cow::Borrowed("/wA="), "base64"));
    }
}
