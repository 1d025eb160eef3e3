//! Tests of real server processes, the executable that users run, on loopback and a real disk.
//!
//! Each test starts a cluster of its own. Nothing here sleeps for a result: every wait polls a
//! condition and ends with what it waited for, and the servers' logs, when its deadline passes.
//! Clusters run one at a time, because some tests measure how long a failover takes.
//!
//! | module         | what it holds the servers to                                            |
//! |----------------|-------------------------------------------------------------------------|
//! | `dev`          | `mokv dev` and the commands it proposes                                 |
//! | `config_files` | config files of the Go program form one cluster, never two              |
//! | `check`        | `mokv check` tells a member that serves from one that does not          |
//! | `crash`        | `kill -9` loses no acknowledged write and applies none twice            |
//! | `pause`        | a leader that stood still answers no read from its past                 |
//! | `membership`   | growing and shrinking under load; a lost disk                           |
//! | `snapshot`     | a million keys: snapshot, truncation, catching up, restart              |
//! | `shutdown`     | SIGTERM hands over leadership and drains                                |
//! | `bad_start`    | what keeps a server from starting is named                              |
//! | `bad_input`    | garbage on every port; the server serves on                             |
#![allow(clippy::print_stdout, reason = "tests print what they measured")]

mod bad_input;
mod bad_start;
mod check;
mod cluster;
mod config_files;
mod crash;
mod dev;
mod logs;
mod membership;
mod pause;
mod poll;
mod same_flags;
mod shutdown;
mod snapshot;
mod wire;
mod workload;

#[path = "../support/binary.rs"]
mod binary;
#[path = "../support/grpc.rs"]
mod grpc;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/process.rs"]
mod process;
