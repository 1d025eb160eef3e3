//! mökv beside etcd: three members each on this machine, the same load on the leader of each.
//!
//! `make bench` runs it. The load comes from `h2load`, in a closed loop: each request in flight is
//! followed by the next when it is answered. The stores take turns, each round on empty data
//! directories, and the table shows the median of the rounds. What is compared:
//!
//! - the same bytes: a key of 16 bytes and a value of 64, which both APIs happen to encode alike.
//!   One key a run, because h2load sends one body; that is as kind to the one as to the other;
//! - the same promise: puts durable on a majority, reads linearizable (both stores' default);
//! - what was counted: puts by the store's own revision, reads by the bytes that came back. A run
//!   with a single failed request ends the bench.
//!
//! CPU time is that of the three servers, from `/proc`; the client's is shown apart.
#![allow(clippy::print_stdout, reason = "printing is what a bench does")]

mod etcd;
mod load;
mod machine;
mod mokv;
mod store;
mod table;

#[path = "../../tests/support/binary.rs"]
mod binary;
#[path = "../../tests/support/grpc.rs"]
mod grpc;
#[path = "../../tests/support/ports.rs"]
mod ports;
#[path = "../../tests/support/process.rs"]
mod process;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use load::{Measurement, Shape};
use store::{Operation, Store};
use table::Row;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Rounds of each store, unless `MOKV_BENCH_ROUNDS` says otherwise.
const ROUNDS: usize = 3;
/// How long each measurement takes, unless `MOKV_BENCH_SECONDS` says otherwise.
const SECONDS: u64 = 4;

const ALONE: Shape = Shape { connections: 1, streams: 1 };
const CROWD: Shape = Shape { connections: 25, streams: 40 };

const CELLS: [(Operation, Shape); 4] = [
    (Operation::Put, ALONE),
    (Operation::Get, ALONE),
    (Operation::Put, CROWD),
    (Operation::Get, CROWD),
];

fn main() -> Result<()> {
    // `cargo test --benches` builds this and asks it what it has to test.
    if env::args().any(|argument| argument == "--list" || argument == "--test") {
        return Ok(());
    }
    let rounds = setting("MOKV_BENCH_ROUNDS")?.unwrap_or(ROUNDS).max(1);
    let seconds = setting("MOKV_BENCH_SECONDS")?.unwrap_or(SECONDS as usize).max(1) as u64;
    let data = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench");
    machine::describe(&data)?;
    println!("{rounds} rounds, {seconds} s a measurement; key 16 bytes, value 64 bytes");

    let mut rows = CELLS.map(|(operation, shape)| Row::new(operation, shape));
    for round in 1..=rounds {
        let (ours, theirs) = (data.join("mokv"), data.join("etcd"));
        measure(mokv::start(&ours)?, seconds, rows.each_mut().map(|row| &mut row.mokv))?;
        measure(etcd::start(&theirs)?, seconds, rows.each_mut().map(|row| &mut row.etcd))?;
        println!("round {round} of {rounds} done");
    }
    table::print(&rows);
    Ok(())
}

/// Runs every cell on one store and adds what was measured to the cells' columns.
fn measure(
    store: Store,
    seconds: u64,
    columns: [&mut Vec<Measurement>; CELLS.len()],
) -> Result<()> {
    for ((operation, shape), column) in CELLS.into_iter().zip(columns) {
        let measurement = load::run(&store, operation, shape, Duration::from_secs(seconds))?;
        column.push(measurement);
    }
    Ok(())
}

fn setting(name: &str) -> Result<Option<usize>> {
    match env::var(name) {
        Ok(text) => {
            Ok(Some(text.parse().map_err(|error| format!("{name}={text} is no number: {error}"))?))
        }
        Err(_) => Ok(None),
    }
}
