//! Three members of mökv, as users run it.

use std::path::Path;
use std::process::Command;

use prost::Message;

use crate::Result;
use crate::binary::mokv;
use crate::ports::free_ports;
use crate::process::Process;
use crate::store::{self, Operation, Store};

/// `api.Server`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
struct Server {
    #[prost(string, tag = "2")]
    rpc_addr: String,
    #[prost(bool, tag = "3")]
    is_leader: bool,
    #[prost(bool, tag = "5")]
    is_voter: bool,
}

/// `api.GetServersResponse`.
#[derive(Clone, PartialEq, Message)]
struct GetServersResponse {
    #[prost(message, repeated, tag = "1")]
    servers: Vec<Server>,
}

/// `mokv.v1.StatusResponse`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(uint64, tag = "12")]
    revision: u64,
}

/// Starts three members on empty directories below `data` and waits until all of them vote.
pub(crate) fn start(data: &Path) -> Result<Store> {
    store::empty_directory(data)?;
    let ports = free_ports(9);
    let mut servers = Vec::new();
    for (i, own) in ports.chunks(3).enumerate() {
        let mut command = Command::new(mokv());
        command
            .args(["serve", "--node-name", &format!("m{i}"), "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data.join(format!("m{i}")))
            .args(["--rpc-port", &own[0].to_string()])
            .args(["--bind-addr", &format!("127.0.0.1:{}", own[1])])
            .args(["--metrics-port", &own[2].to_string()]);
        if i == 0 {
            command.arg("--bootstrap");
        } else {
            command.args(["--start-join-addrs", &format!("127.0.0.1:{}", ports[1])]);
        }
        servers.push(Process::spawn(&mut command, &data.join(format!("m{i}.log")))?);
    }
    let first = format!("127.0.0.1:{}", ports[0]);
    let leader = store::wait_for_leader(&mut servers, || leader(&first))?;
    store::call(&leader, "/api.KV/Set", &store::request(Operation::Put))?;
    Ok(Store {
        name: "mökv",
        servers,
        data: data.to_owned(),
        leader,
        put_path: "/api.KV/Set",
        get_path: "/api.KV/Get",
        revision,
    })
}

/// The leader, once three members vote.
fn leader(member: &str) -> Result<Option<String>> {
    let answer = store::call(member, "/api.KV/GetServers", &[])?;
    let servers = store::decode::<GetServersResponse>(&answer)?.servers;
    if servers.iter().filter(|server| server.is_voter).count() < 3 {
        return Ok(None);
    }
    Ok(servers.into_iter().find(|server| server.is_leader).map(|server| server.rpc_addr))
}

fn revision(addr: &str) -> Result<u64> {
    let answer = store::call(addr, "/mokv.v1.Admin/Status", &[])?;
    Ok(store::decode::<StatusResponse>(&answer)?.revision)
}
