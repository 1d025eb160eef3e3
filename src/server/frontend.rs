//! The gRPC side of one executor: takes requests, numbers them, and brings the answers back.
//!
//! ```text
//!  submit ──> ticket ──+── node's executor: writes, linearizable reads, questions about the cluster
//!                      +── the shard that owns the key: stale reads
//!  answer <── ticket <─+
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;

use super::envelope::{Answer, Envelope, Question, ShardWork};
use super::listing;
use super::mesh::{NODE_EXECUTOR, Post};
use super::shared::Shared;
use super::view::Views;
use crate::node::{self, Failure, Ticket};
use crate::rpc::grpc::{
    self, Backend, HealthService, Reply, ReplyHandle, Request, ServerInfo, Status, StatusInfo,
    Subscription,
};
use crate::types::Command;

/// One executor's frontend.
pub(super) struct Frontend {
    post: Rc<Post>,
    shared: Arc<Shared>,
    views: Rc<Views>,
    /// Calls that wait for an answer, bounded by the streams of the connections of an executor.
    calls: RefCell<HashMap<u64, ReplyHandle, foldhash::fast::RandomState>>,
    health: grpc::Signal,
}

/// The frontend as the gRPC server sees it.
pub(super) struct GrpcBackend(pub(super) Rc<Frontend>);

impl Frontend {
    pub(super) fn new(post: Rc<Post>, views: Rc<Views>, shared: Arc<Shared>) -> Frontend {
        let (calls, health) = (RefCell::default(), grpc::Signal::default());
        Frontend { post, shared, views, calls, health }
    }

    /// An answer came for a request of this frontend.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        let call = self.calls.borrow_mut().remove(&ticket.0);
        match call {
            Some(reply) => reply.send(self.reply(answer)),
            None => self.views.answer(ticket, answer),
        }
    }

    /// The health of this server may have changed.
    pub(super) fn health_changed(&self) {
        self.health.notify();
    }

    fn wait(&self, reply: ReplyHandle) -> Ticket {
        let ticket = self.post.new_ticket();
        self.calls.borrow_mut().insert(ticket.0, reply);
        ticket
    }

    fn ask_node(&self, reply: ReplyHandle, request: impl FnOnce(Ticket) -> Question) {
        let ticket = self.wait(reply);
        self.post.send(NODE_EXECUTOR, Envelope::Question(request(ticket)));
    }

    /// Answers from the owning shard's present state, without asking anybody.
    fn stale_get(&self, key: Bytes, reply: ReplyHandle) {
        let owner = self.post.owner(&key);
        let ticket = self.wait(reply);
        self.post.send(owner, Envelope::Shard(ShardWork::Get(ticket, key)));
    }

    /// Waits for a view of the map at one position of the log, and streams it to the client.
    fn list(&self, reply: ReplyHandle) {
        let reader = self.views.expect();
        self.post.send(NODE_EXECUTOR, Envelope::Question(Question::List(reader.ticket())));
        glommio::spawn_local(async move {
            match reader.frozen().await {
                Err(failure) => reply.send(Reply::Failed(failed(failure))),
                Ok(()) => {
                    let (sender, receiver) = grpc::list_channel();
                    reply.send(Reply::List(receiver));
                    listing::send_all(&reader, &sender).await;
                }
            }
        })
        .detach();
    }

    fn reply(&self, answer: Answer) -> Reply {
        match answer {
            Answer::Written(revision) => Reply::Written { revision: revision.0 },
            Answer::Value(Some((value, revision))) => Reply::Value { value, revision: revision.0 },
            Answer::Value(None) => Reply::Failed(Status::not_found()),
            Answer::Servers(servers) => Reply::Servers(servers.into_iter().map(info).collect()),
            Answer::Status(status, servers) => {
                Reply::Status(Box::new(self.status_info(&status, &servers)))
            }
            Answer::Done => Reply::Done,
            Answer::Failed(failure) => Reply::Failed(failed(failure)),
            Answer::NotLeader(leader) => Reply::Failed(Status::not_leader(&leader)),
            Answer::Refused(why) => Reply::Failed(Status::failed_precondition("REFUSED", why)),
            Answer::Frozen | Answer::Page(_) => unreachable!("only a view is answered by pages"),
        }
    }

    fn status_info(&self, status: &node::Status, servers: &[node::ServerView]) -> StatusInfo {
        let leader = servers.iter().find(|server| server.is_leader);
        StatusInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: self.shared.name.clone(),
            node_id: status.id,
            cluster_id: status.cluster,
            role: role(status.role),
            leader: leader.map(|server| server.name.clone()).unwrap_or_default(),
            term: status.term.0,
            commit_index: status.commit.0,
            applied_index: status.applied.0,
            last_index: status.last_index.0,
            snapshot_index: status.snapshot_index.0,
            revision: status.revision.0,
            keys: self.shared.keys(),
        }
    }
}

impl Backend for GrpcBackend {
    fn submit(&self, request: Request, reply: ReplyHandle) {
        match request {
            Request::Get { key, stale: true } => self.0.stale_get(key, reply),
            Request::Get { key, stale: false } => {
                self.0.ask_node(reply, |ticket| Question::Get(ticket, key));
            }
            Request::Set { key, value } => {
                let command = Command::Set { key, value };
                self.0.ask_node(reply, |ticket| Question::Write(ticket, command));
            }
            Request::Delete { key } => {
                let command = Command::Delete { key };
                self.0.ask_node(reply, |ticket| Question::Write(ticket, command));
            }
            Request::List => self.0.list(reply),
            Request::Servers => self.0.ask_node(reply, Question::Servers),
            Request::Status => self.0.ask_node(reply, Question::Status),
            Request::Leave => self.0.ask_node(reply, Question::Leave),
            Request::TransferLeadership { to } => {
                self.0.ask_node(reply, |ticket| Question::Transfer(ticket, to));
            }
        }
    }

    fn health(&self, service: HealthService) -> bool {
        match service {
            HealthService::Liveness | HealthService::Startup => true,
            HealthService::Overall | HealthService::Readiness => self.0.shared.is_serving(),
        }
    }

    fn health_changes(&self) -> Subscription {
        self.0.health.subscribe()
    }
}

fn info(server: node::ServerView) -> ServerInfo {
    ServerInfo {
        name: server.name,
        rpc_addr: server.rpc_addr,
        node_id: server.id,
        is_leader: server.is_leader,
        is_voter: server.is_voter,
    }
}

fn role(role: node::Role) -> grpc::Role {
    match role {
        node::Role::Joining => grpc::Role::Joining,
        node::Role::Learner => grpc::Role::Learner,
        node::Role::Follower => grpc::Role::Follower,
        node::Role::Candidate => grpc::Role::Candidate,
        node::Role::Leader => grpc::Role::Leader,
        node::Role::Removed => grpc::Role::Removed,
    }
}

fn failed(failure: Failure) -> Status {
    match failure {
        Failure::NoLeader => Status::no_leader(),
        Failure::OutcomeUnknown => Status::outcome_unknown(),
        Failure::Overloaded => Status::overloaded(&failure.to_string()),
        Failure::NotJoined => Status::not_a_member(),
        Failure::ShuttingDown => Status::shutting_down(),
    }
}
