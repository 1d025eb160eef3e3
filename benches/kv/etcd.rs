//! Three members of etcd, from Debian's `etcd-server`.

use std::path::Path;
use std::process::Command;

use prost::Message;

use crate::Result;
use crate::ports::free_ports;
use crate::process::Process;
use crate::store::{self, Operation, Store};

/// `etcdserverpb.ResponseHeader`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

/// `etcdserverpb.StatusResponse`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// Any response, as far as its header.
#[derive(Clone, PartialEq, Message)]
struct HeaderOnly {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

/// Starts three members on empty directories below `data` and waits for their leader.
pub(crate) fn start(data: &Path) -> Result<Store> {
    store::empty_directory(data)?;
    let ports = free_ports(6);
    let peers: Vec<String> =
        ports[..3].iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
    let cluster: Vec<String> = (0..).zip(&peers).map(|(i, url)| format!("e{i}={url}")).collect();
    let mut servers = Vec::new();
    for (i, peer) in peers.iter().enumerate() {
        let client = format!("http://127.0.0.1:{}", ports[3 + i]);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("e{i}"), "--log-level", "error", "--logger", "zap"])
            .arg("--data-dir")
            .arg(data.join(format!("e{i}")))
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"]);
        servers.push(Process::spawn(&mut command, &data.join(format!("e{i}.log")))?);
    }
    let clients: Vec<String> = ports[3..].iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let leader = store::wait_for_leader(&mut servers, || leader(&clients))?;
    Ok(Store {
        name: "etcd",
        servers,
        data: data.to_owned(),
        leader,
        put_path: "/etcdserverpb.KV/Put",
        get_path: "/etcdserverpb.KV/Range",
        revision,
    })
}

fn leader(members: &[String]) -> Result<Option<String>> {
    for member in members {
        let answer = store::call(member, "/etcdserverpb.Maintenance/Status", &[])?;
        let status: StatusResponse = store::decode(&answer)?;
        let header = status.header.ok_or("a status without a header")?;
        if status.leader != 0 && status.leader == header.member_id {
            return Ok(Some(member.clone()));
        }
    }
    Ok(None)
}

fn revision(addr: &str) -> Result<u64> {
    let answer = store::call(addr, "/etcdserverpb.KV/Range", &store::request(Operation::Get))?;
    let header =
        store::decode::<HeaderOnly>(&answer)?.header.ok_or("a response without a header")?;
    Ok(u64::try_from(header.revision)?)
}
