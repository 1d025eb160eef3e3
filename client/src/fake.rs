//! A member of a make-believe cluster, for tests: a real gRPC server on a loopback port whose
//! answers a test writes down beforehand.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::proto::api::kv_server::{Kv, KvServer};
use crate::proto::api::{
    DeleteRequest, DeleteResponse, GetRequest, GetResponse, GetServersResponse, Server, SetRequest,
    SetResponse,
};
use crate::proto::rpc;

/// What a member does with the next call it gets.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Serves it.
    Serve,
    /// Fails it; the text is the `outcome` in the details, if any.
    Fail(Code, Option<&'static str>),
    /// Never answers.
    Hang,
}

/// What a test prepares for a member and what the member saw.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The answers to the next gets, sets, deletes and lists; afterwards calls are served.
    pub(crate) answers: VecDeque<Answer>,
    /// The answer to `GetServers`.
    pub(crate) servers: Vec<Server>,
    /// The names of the calls that came, without `GetServers`.
    pub(crate) seen: Vec<&'static str>,
    /// What gets and lists read and sets write.
    pub(crate) map: BTreeMap<String, Bytes>,
}

/// One running member.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) addr: String,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts a member that serves everything.
    pub(crate) async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let addr = listener.local_addr().expect("bound").to_string();
        let script = Arc::new(Mutex::new(Script::default()));
        let service = KvServer::new(Service { script: Arc::clone(&script) });
        let task = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .serve_with_incoming(service, TcpListenerStream::new(listener))
                .await
                .expect("the listener works");
        });
        Fake { addr, script, task }
    }

    /// Starts `count` members that know each other; the first leads.
    pub(crate) async fn cluster(count: usize) -> Vec<Fake> {
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(Fake::start().await);
        }
        Fake::elect(&members, Some(0));
        members
    }

    /// Tells all members that `leader` leads.
    pub(crate) fn elect(members: &[Fake], leader: Option<usize>) {
        let servers: Vec<Server> = members
            .iter()
            .enumerate()
            .map(|(position, member)| Server {
                id: format!("node-{}", position + 1),
                rpc_addr: member.addr.clone(),
                is_leader: leader == Some(position),
                is_voter: true,
                ..Server::default()
            })
            .collect();
        for member in members {
            member.edit(|script| script.servers = servers.clone());
        }
    }

    /// Changes what it will do.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().expect("no test panics while it holds the script"));
    }

    /// Prepares the answers to the next calls.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.edit(|script| script.answers = answers.into_iter().collect());
    }

    /// The calls it got, without `GetServers`.
    pub(crate) fn seen(&self) -> Vec<&'static str> {
        self.script.lock().expect("no test panics while it holds the script").seen.clone()
    }

    /// Stops listening; connections to it are refused from then on.
    pub(crate) async fn kill(self) -> String {
        self.task.abort();
        let _cancelled = self.task.await;
        self.addr
    }
}

struct Service {
    script: Arc<Mutex<Script>>,
}

impl Service {
    async fn next(&self, call: &'static str) -> Result<(), Status> {
        let answer = {
            let mut script = self.script.lock().expect("no test panics while it holds the script");
            script.seen.push(call);
            script.answers.pop_front().unwrap_or(Answer::Serve)
        };
        match answer {
            Answer::Serve => Ok(()),
            Answer::Fail(code, outcome) => Err(status(code, outcome)),
            Answer::Hang => std::future::pending().await,
        }
    }

    fn with<T>(&self, use_script: impl FnOnce(&mut Script) -> T) -> T {
        use_script(&mut self.script.lock().expect("no test panics while it holds the script"))
    }
}

/// A status with the details mökv's servers attach.
pub(crate) fn status(code: Code, outcome: Option<&str>) -> Status {
    let Some(outcome) = outcome else { return Status::new(code, "as the test asked") };
    let info = rpc::ErrorInfo {
        reason: "TEST".to_owned(),
        domain: "mokv".to_owned(),
        metadata: [("outcome".to_owned(), outcome.to_owned())].into(),
    };
    let info = prost_types::Any::from_msg(&info).expect("it has a type name");
    let details = rpc::Status { details: vec![info], ..rpc::Status::default() };
    Status::with_details(code, "as the test asked", details.encode_to_vec().into())
}

#[tonic::async_trait]
impl Kv for Service {
    type ListStream = Pin<Box<dyn Stream<Item = Result<GetResponse, Status>> + Send>>;

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        self.next("get").await?;
        let key = request.into_inner().key;
        let value = self.with(|script| script.map.get(&key).cloned());
        let value = value.ok_or_else(|| Status::not_found("the key has no value"))?;
        Ok(Response::new(GetResponse { key, value, revision: 1 }))
    }

    async fn set(&self, request: Request<SetRequest>) -> Result<Response<SetResponse>, Status> {
        self.next("set").await?;
        let SetRequest { key, value } = request.into_inner();
        self.with(|script| script.map.insert(key, value));
        Ok(Response::new(SetResponse { ok: true, revision: 1 }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        self.next("delete").await?;
        self.with(|script| script.map.remove(&request.into_inner().key));
        Ok(Response::new(DeleteResponse { ok: true, revision: 2 }))
    }

    async fn list(&self, _request: Request<()>) -> Result<Response<Self::ListStream>, Status> {
        self.next("list").await?;
        let items: Vec<Result<GetResponse, Status>> = self.with(|script| {
            let map = script.map.iter();
            map.map(|(key, value)| {
                Ok(GetResponse { key: key.clone(), value: value.clone(), revision: 1 })
            })
            .collect()
        });
        Ok(Response::new(Box::pin(tokio_stream::iter(items))))
    }

    async fn get_servers(
        &self,
        _request: Request<()>,
    ) -> Result<Response<GetServersResponse>, Status> {
        let servers = self.with(|script| script.servers.clone());
        Ok(Response::new(GetServersResponse { servers }))
    }
}
