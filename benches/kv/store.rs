//! A running store, and what can be asked of it without knowing which one it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use prost::Message;

use crate::Result;
use crate::grpc::{self, Answer, Call};
use crate::process::Process;

/// The time a cluster may take to elect its first leader.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a wait looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A durable write.
    Put,
    /// A linearizable read.
    Get,
}

/// Three servers, the one that leads, and how to call it. They end when this is dropped.
pub(crate) struct Store {
    pub(crate) name: &'static str,
    pub(crate) servers: Vec<Process>,
    pub(crate) data: PathBuf,
    /// The leader's address for clients.
    pub(crate) leader: String,
    pub(crate) put_path: &'static str,
    pub(crate) get_path: &'static str,
    /// Reads the number of writes that the store has made, over the address given.
    pub(crate) revision: fn(&str) -> Result<u64>,
}

/// `api.SetRequest` of mökv and `etcdserverpb.PutRequest` of etcd, field for field.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `api.GetRequest` of mökv and `etcdserverpb.RangeRequest` of etcd, as far as they are used.
#[derive(Clone, PartialEq, Message)]
struct GetRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

impl Store {
    /// The gRPC path of an operation.
    pub(crate) fn path(&self, operation: Operation) -> &'static str {
        match operation {
            Operation::Put => self.put_path,
            Operation::Get => self.get_path,
        }
    }

    /// Makes one call and returns the data of its response.
    pub(crate) fn call_once(&self, operation: Operation) -> Result<Answer> {
        call(&self.leader, self.path(operation), &request(operation))
    }

    /// The CPU time that its servers have used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.servers.iter().map(|server| cpu_of(&server.id().to_string(), UTIME)).sum()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.servers.clear();
        // What remains is removed before the next start; a bench does not fail over it.
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The message of an operation: 16 bytes of key, 64 of value.
pub(crate) fn request(operation: Operation) -> Vec<u8> {
    let key = b"bench-key-000001".to_vec();
    match operation {
        Operation::Put => PutRequest { key, value: vec![b'v'; 64] }.encode_to_vec(),
        Operation::Get => GetRequest { key }.encode_to_vec(),
    }
}

/// Makes one call; any status but OK is an error.
pub(crate) fn call(addr: &str, path: &str, message: &[u8]) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let call = Call { path, headers: &[], body: grpc::framed(message) };
    let answer = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), grpc::call(addr, &call)).await
    })??;
    match answer.status {
        Some(0) => Ok(answer),
        status => Err(format!("{path} on {addr}: status {status:?} {}", answer.message).into()),
    }
}

/// Decodes the one message of a response.
pub(crate) fn decode<M: Message + Default>(answer: &Answer) -> Result<M> {
    let message = answer.body.get(5..).ok_or("a response without a message")?;
    Ok(M::decode(message)?)
}

/// An empty directory at `path`.
pub(crate) fn empty_directory(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    Ok(fs::create_dir_all(path)?)
}

/// Asks every member in turn who leads, until one knows.
pub(crate) fn wait_for_leader(
    servers: &mut [Process],
    ask: impl Fn() -> Result<Option<String>>,
) -> Result<String> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let answer = ask();
        if let Ok(Some(leader)) = answer {
            return Ok(leader);
        }
        for server in &mut *servers {
            if let Some(status) = server.exit_status() {
                return Err(format!("a server ended, {status}:\n{}", server.output()).into());
            }
        }
        if Instant::now() > end {
            return Err(format!("no leader in {START_LIMIT:?}; last answer: {answer:?}").into());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Position of the user time in `/proc/PID/stat`, counted after the name; the system time follows.
pub(crate) const UTIME: usize = 11;
/// The same for the user time of children that were waited for.
pub(crate) const CHILDREN_UTIME: usize = 13;

/// User and system time of a process, from the clock ticks in `/proc`.
pub(crate) fn cpu_of(process: &str, utime: usize) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(") ").ok_or("/proc/PID/stat has no name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = fields[utime].parse::<u64>()? + fields[utime + 1].parse::<u64>()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks * 1_000_000 / ticks_per_second))
}
