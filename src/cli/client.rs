//! What all commands that talk to a cluster share: its address, their patience, their output.

use std::future::Future;
use std::time::Duration;

use mokv_client::{Client, Options};

use super::exit::CliError;
use super::output::Format;

/// How to reach the cluster and how to print its answer.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Client options")]
pub(crate) struct ClientArgs {
    /// Members to talk to, comma separated; the others are found through them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', env = "MOKV_ENDPOINTS")]
    #[arg(default_value = "127.0.0.1:8400")]
    pub(crate) endpoints: Vec<String>,
    /// Give up after this time: 500ms, 5s, 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// plain, table or json; what each looks like stands below
    #[arg(short, long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    pub(crate) output: Option<Format>,
}

impl ClientArgs {
    /// Runs `work` with a client, and everything it spawns, on this thread.
    pub(crate) fn run<F, Fut>(&self, work: F) -> Result<(), CliError>
    where
        F: FnOnce(Client) -> Fut,
        Fut: Future<Output = Result<(), CliError>>,
    {
        let options = Options { timeout: self.timeout, ..Options::default() };
        on_this_thread(async {
            let client = Client::new(self.endpoints.iter().cloned(), options)
                .map_err(|error| CliError::Usage(error.to_string()))?;
            work(client).await
        })
    }

    /// Runs `work` with a client for each endpoint, which asks nobody else.
    pub(crate) fn run_at_each<F, Fut>(&self, work: F) -> Result<(), CliError>
    where
        F: FnOnce(Vec<(String, Client)>) -> Fut,
        Fut: Future<Output = Result<(), CliError>>,
    {
        let options = Options { timeout: self.timeout, discover: false, ..Options::default() };
        on_this_thread(async {
            let client_at = |endpoint: &String| {
                let client = Client::new([endpoint], options.clone())
                    .map_err(|error| CliError::Usage(error.to_string()))?;
                Ok((endpoint.clone(), client))
            };
            let clients: Result<_, CliError> = self.endpoints.iter().map(client_at).collect();
            work(clients?).await
        })
    }
}

fn on_this_thread(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("no event loop: {error}")))?;
    runtime.block_on(work)
}

/// A number with a unit, as in `500ms`, `5s` or `1m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is not a time; write 500ms, 5s or 1m");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(problem)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u32 = number.parse().map_err(|_| problem())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(problem()),
    };
    if number == 0 {
        return Err(problem());
    }
    Ok(Duration::from_millis(u64::from(number) * unit_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "5", "s", "5 s", "-5s", "5h", "0s", "99999999999s", "1.5s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
