//! `mokv doctor`: the checks a server makes before it starts, without starting one.

use serde::Serialize;

use super::config::{self, ServeArgs};
use super::exit::CliError;
use super::output::{Format, Printer};
use crate::server::preflight::{self, Check, Outcome};

/// Prints one line a check: ok, warn or fail, with what to do. Exits 1 when a check fails.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// plain, table or json (a list of {name, outcome, detail, fix}) [default: plain]
    #[arg(short, long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    output: Option<Format>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// One check in JSON.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    outcome: &'a str,
    detail: &'a str,
    fix: Option<&'a str>,
}

pub(crate) fn run(args: DoctorArgs) -> Result<(), CliError> {
    let settings = config::resolve(&args.serve)?;
    let report = preflight::run(&settings);
    let lines: Vec<Line<'_>> = report.checks.iter().map(line).collect();
    let mut printer = Printer::stdout();
    match args.output.unwrap_or(Format::Plain) {
        Format::Plain => {
            for Line { name, outcome, detail, fix } in &lines {
                printer.line(format_args!("{outcome:<4}  {name}: {detail}"))?;
                if let Some(fix) = fix {
                    printer.line(format_args!("      -> {fix}"))?;
                }
            }
        }
        Format::Table => printer.table(
            &["CHECK", "OUTCOME", "DETAIL", "FIX"],
            lines
                .iter()
                .map(|l| [l.name, l.outcome, l.detail, l.fix.unwrap_or("")].map(str::to_owned)),
        )?,
        Format::Json => printer.json(&lines)?,
    }
    printer.finish()?;
    match report.into_result() {
        Ok(()) => Ok(()),
        Err(error) => {
            let count = error.failed.len();
            let checks = if count == 1 { "check" } else { "checks" };
            Err(CliError::Failed(format!("a server cannot start here: {count} {checks} failed")))
        }
    }
}

fn line(check: &Check) -> Line<'_> {
    let (outcome, detail, fix) = match &check.outcome {
        Outcome::Ok(detail) => ("ok", detail, None),
        Outcome::Warn(finding) => ("warn", &finding.cause, Some(finding.fix.as_str())),
        Outcome::Fail(finding) => ("fail", &finding.cause, Some(finding.fix.as_str())),
    };
    Line { name: check.name, outcome, detail, fix }
}
