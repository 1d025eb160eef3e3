//! `mokv dev`, the first thing a user meets, and the commands it proposes.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use mokv_client::{Client, Options};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::binary::mokv;
use crate::cluster::{Cluster, READY_LIMIT, STOP_LIMIT};
use crate::poll::{self, ensure};
use crate::ports::free_ports;
use crate::process::Process;

/// Ports that three nodes span from their base port on.
const SPAN: usize = 30;
/// Exit code of `mokv get` for a key without a value.
const NOT_FOUND: i32 = 3;
/// The time after the end of a process in which the kernel closes what its io_uring held.
const STOPPED_LIMIT: Duration = Duration::from_secs(1);
/// The time in which the nodes notice that the program which started them was killed.
const ORPHAN_LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn dev_survives_the_loss_of_any_node_and_keeps_its_data_between_runs() {
    let turn = Cluster::empty();
    let directory = turn.directory().join("dev");
    let (clients, metrics) = (free_ports(SPAN)[0], free_ports(SPAN)[0]);
    let endpoints: Vec<String> =
        (0..3).map(|number| format!("127.0.0.1:{}", clients + 10 * number)).collect();
    let log = turn.directory().join("dev.log");
    let start = || start(&directory, clients, metrics, &log);

    let mut dev = start();
    wait_until_ready(&mut dev, &endpoints).await;
    for (endpoint, value) in endpoints.iter().zip(["hello", "good morning", "farewell"]) {
        run(&["set", "greeting", value, "--endpoints", endpoint], 0).await;
        for other in &endpoints {
            let read = run(&["get", "greeting", "--endpoints", other], 0).await;
            assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), value);
        }
    }
    run(&["get", "never-set", "--endpoints", &endpoints[0]], NOT_FOUND).await;

    for number in 1..=3 {
        let lost = process_of(&directory, number).expect("a running node has a lock");
        kill_process(lost, Signal::KILL).expect("it runs");
        poll::until("another process takes its place", READY_LIMIT, async || {
            let now = process_of(&directory, number);
            ensure(now.is_some_and(|now| now != lost), now)
        })
        .await;
        wait_until_ready(&mut dev, &endpoints).await;
    }

    dev.signal(Signal::INT);
    let status = poll::until_exit(&mut dev, STOP_LIMIT).await;
    assert_eq!(status.code(), Some(0), "{}", dev.output());
    wait_for_silence(&endpoints, STOPPED_LIMIT).await;

    let mut dev = start();
    wait_until_ready(&mut dev, &endpoints).await;
    let read = run(&["get", "greeting", "--endpoints", &endpoints[2]], 0).await;
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), "farewell");

    dev.kill();
    wait_for_silence(&endpoints, ORPHAN_LIMIT).await;
}

#[tokio::test]
async fn a_client_without_a_cluster_is_told_so() {
    let addr = format!("127.0.0.1:{}", free_ports(1)[0]);
    let answer = run(&["get", "key", "--endpoints", &addr, "--timeout", "1s"], 4).await;
    let error = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(error.contains(&addr), "{error}");
}

fn start(directory: &Path, clients: u16, metrics: u16, log: &Path) -> Process {
    let mut command = std::process::Command::new(mokv());
    command.arg("dev").arg("--data-dir").arg(directory);
    command.args(["--base-port", &clients.to_string()]);
    command.args(["--metrics-base-port", &metrics.to_string()]);
    Process::spawn(&mut command, log).expect("mokv can be started")
}

async fn wait_until_ready(dev: &mut Process, endpoints: &[String]) {
    let client = Client::new(endpoints, Options::default()).expect("they are well formed");
    for endpoint in endpoints {
        poll::until(&format!("{endpoint} serves"), READY_LIMIT, async || {
            assert!(dev.exit_status().is_none(), "`mokv dev` ended:\n{}", dev.output());
            match client.health(endpoint, "").await {
                Ok(true) => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

/// The process that a node's lock names.
fn process_of(directory: &Path, number: usize) -> Option<Pid> {
    let lock = directory.join(format!("node-{number}")).join("LOCK");
    Pid::from_raw(fs::read_to_string(lock).ok()?.trim().parse().ok()?)
}

/// Waits until nobody listens at any of the addresses.
async fn wait_for_silence(endpoints: &[String], limit: Duration) {
    poll::until("no node outlives `mokv dev`", limit, async || {
        for endpoint in endpoints {
            let refused = TcpStream::connect(endpoint).await.is_err();
            ensure(refused, format!("{endpoint} is still served"))?;
        }
        Ok::<_, String>(())
    })
    .await;
}

/// Runs a command that must end with `code`.
async fn run(arguments: &[&str], code: i32) -> Output {
    let mut command = Command::new(mokv());
    let output = command.args(arguments).kill_on_drop(true).output();
    let output = output.await.expect("mokv can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "mokv {arguments:?}: {error}");
    output
}
