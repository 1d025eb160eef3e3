//! One measurement: h2load against the leader, with what it claims checked against the store.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::grpc;
use crate::store::{self, Operation, Store};

/// Requests of the run that finds out how many fit the time.
const CALIBRATION_REQUESTS_A_STREAM: u64 = 50;

/// How many requests are in flight, and over how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: u64,
    pub(crate) streams: u64,
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    /// Answered requests a second.
    pub(crate) per_second: f64,
    /// CPU time of the three servers, in microseconds a request.
    pub(crate) server_us: f64,
    /// CPU time of the client, in microseconds a request.
    pub(crate) client_us: f64,
}

/// What h2load prints, as far as it is read.
#[derive(Debug, PartialEq)]
struct Report {
    per_second: f64,
    succeeded: u64,
    /// Bytes of DATA frames that came back.
    data_bytes: u64,
}

impl Shape {
    pub(crate) fn in_flight(self) -> u64 {
        self.connections * self.streams
    }
}

/// Runs `operation` in `shape` for about `duration`, after a short run that warms up.
pub(crate) fn run(
    store: &Store,
    operation: Operation,
    shape: Shape,
    duration: Duration,
) -> Result<Measurement> {
    let warm_up =
        h2load(store, operation, shape, shape.in_flight() * CALIBRATION_REQUESTS_A_STREAM)?;
    let requests = (warm_up.per_second * duration.as_secs_f64()) as u64;
    let requests = requests.max(shape.in_flight());

    let answer_bytes = store.call_once(operation)?.body.len() as u64;
    let revision = (store.revision)(&store.leader)?;
    let (servers, client) = (store.cpu()?, store::cpu_of("self", store::CHILDREN_UTIME)?);
    let report = h2load(store, operation, shape, requests)?;
    let servers = store.cpu()? - servers;
    let client = store::cpu_of("self", store::CHILDREN_UTIME)? - client;
    let written = (store.revision)(&store.leader)? - revision;

    let (name, expected) = (store.name, if operation == Operation::Put { requests } else { 0 });
    assert_eq!(written, expected, "{name} counts another number of writes than were answered");
    assert_eq!(report.succeeded, requests, "{name} did not answer every request");
    if operation == Operation::Get {
        let bytes = requests * answer_bytes;
        assert_eq!(report.data_bytes, bytes, "{name} answered some reads with something else");
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / requests as f64;
    Ok(Measurement {
        per_second: report.per_second,
        server_us: each(servers),
        client_us: each(client),
    })
}

fn h2load(store: &Store, operation: Operation, shape: Shape, requests: u64) -> Result<Report> {
    let body = store.data.join("body");
    fs::write(&body, grpc::framed(&store::request(operation)))?;
    let output = Command::new("h2load")
        .args(["--clients", &shape.connections.to_string()])
        .args(["--max-concurrent-streams", &shape.streams.to_string()])
        .args(["--requests", &requests.to_string()])
        .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
        .arg("--data")
        .arg(&body)
        .arg(format!("http://{}{}", store.leader, store.path(operation)))
        .output()
        .map_err(|error| format!("h2load (Debian package nghttp2-client): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).ok_or_else(|| format!("h2load printed something else:\n{text}").into())
}

/// Reads these lines:
///
/// ```text
/// finished in 3.98s, 12542.61 req/s, 1.21MB/s
/// requests: 50000 total, 50000 started, 50000 done, 50000 succeeded, 0 failed, 0 errored, 0 timeout
/// traffic: 4.82MB (5050729) total, 1.05MB (1100225) headers (space savings 90.00%), 1.66MB (1750000) data
/// ```
fn parse(text: &str) -> Option<Report> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let before = |line: &str, unit: &str| -> Option<String> {
        let part = line.split(',').find_map(|part| part.trim().strip_suffix(unit))?;
        Some(part.trim().to_owned())
    };
    let data = line("traffic:").and_then(|line| before(line, "data"))?;
    let data = data.split_once('(')?.1.trim_end_matches(')').to_owned();
    Some(Report {
        per_second: before(line("finished in")?, "req/s")?.parse().ok()?,
        succeeded: before(line("requests:")?, "succeeded")?.parse().ok()?,
        data_bytes: data.parse().ok()?,
    })
}
