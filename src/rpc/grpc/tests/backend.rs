//! A store in memory whose keys also command it, so that a test can stage any situation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;

use super::super::{
    Backend, HealthService, ListItem, ListSender, Reply, ReplyHandle, Request, Role, ServerInfo,
    Signal, Status, StatusInfo, Subscription, list_channel,
};
use crate::types::{ClusterId, NodeId};

/// A `Get`, `Set` or `Delete` of it is answered only once [`RELEASE`] is set.
pub(super) const HELD: &str = "held";
/// Setting it answers all that is held.
pub(super) const RELEASE: &str = "release";
/// A call with it is forgotten.
pub(super) const FORGOTTEN: &str = "forgotten";
/// Setting it makes the health what its value says: "up" or "down".
pub(super) const HEALTH: &str = "health";
/// When it has a value, a list never ends.
pub(super) const ENDLESS: &str = "endless";
/// When it has a value, a list fails after its first chunk.
pub(super) const BROKEN: &str = "broken";

/// Reading these gives a number, as text.
pub(super) const HELD_CALLS: &str = "counter/held";
pub(super) const CHUNKS_SENT: &str = "counter/chunks";
pub(super) const LISTS_CANCELLED: &str = "counter/cancelled";

#[derive(Default)]
pub(super) struct TestBackend {
    map: RefCell<BTreeMap<Bytes, (Bytes, u64)>>,
    revision: Cell<u64>,
    down: Cell<bool>,
    changes: Signal,
    held: RefCell<Vec<(Request, ReplyHandle)>>,
    counters: Rc<Counters>,
}

#[derive(Default)]
struct Counters {
    chunks_sent: Cell<u64>,
    lists_cancelled: Cell<u64>,
}

impl Backend for TestBackend {
    fn submit(&self, request: Request, reply: ReplyHandle) {
        let key = match &request {
            Request::Get { key, .. } | Request::Set { key, .. } | Request::Delete { key } => key,
            Request::List
            | Request::Servers
            | Request::Status
            | Request::Leave
            | Request::TransferLeadership { .. } => return reply.send(self.answer(request)),
        };
        match str::from_utf8(key).unwrap() {
            HELD => self.held.borrow_mut().push((request, reply)),
            FORGOTTEN => drop(reply),
            RELEASE => {
                for (request, held) in self.held.take() {
                    held.send(self.answer(request));
                }
                reply.send(self.answer(request));
            }
            _ => reply.send(self.answer(request)),
        }
    }

    fn health(&self, service: HealthService) -> bool {
        service == HealthService::Liveness || !self.down.get()
    }

    fn health_changes(&self) -> Subscription {
        self.changes.subscribe()
    }
}

impl TestBackend {
    fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Get { key, .. } => self.get(&key),
            Request::Set { key, value } => {
                if key == HEALTH {
                    self.down.set(value == "down");
                    self.changes.notify();
                }
                let revision = self.next_revision();
                self.map.borrow_mut().insert(key, (value, revision));
                Reply::Written { revision }
            }
            Request::Delete { key } => {
                self.map.borrow_mut().remove(&key);
                Reply::Written { revision: self.next_revision() }
            }
            Request::List => self.list(),
            Request::Servers => Reply::Servers(vec![ServerInfo {
                name: "one".to_owned(),
                rpc_addr: "127.0.0.1:8400".to_owned(),
                node_id: NodeId(1),
                is_leader: true,
                is_voter: true,
            }]),
            Request::Status => Reply::Status(Box::new(status())),
            Request::Leave => Reply::Done,
            Request::TransferLeadership { to } if to == "one" => Reply::Done,
            Request::TransferLeadership { .. } => Reply::Failed(Status::not_leader("two:8400")),
        }
    }

    fn get(&self, key: &Bytes) -> Reply {
        let counter = match str::from_utf8(key).unwrap() {
            HELD_CALLS => Some(self.held.borrow().len() as u64),
            CHUNKS_SENT => Some(self.counters.chunks_sent.get()),
            LISTS_CANCELLED => Some(self.counters.lists_cancelled.get()),
            _ => None,
        };
        if let Some(number) = counter {
            return Reply::Value { value: number.to_string().into(), revision: 0 };
        }
        match self.map.borrow().get(key) {
            Some((value, revision)) => Reply::Value { value: value.clone(), revision: *revision },
            None => Reply::Failed(Status::not_found()),
        }
    }

    fn list(&self) -> Reply {
        let items: Vec<ListItem> = self
            .map
            .borrow()
            .iter()
            .map(|(key, (value, revision))| ListItem {
                key: key.clone(),
                value: value.clone(),
                revision: *revision,
            })
            .collect();
        let has = |key: &str| self.map.borrow().contains_key(key.as_bytes());
        let (endless, broken) = (has(ENDLESS), has(BROKEN));
        let (sender, receiver) = list_channel();
        let counters = Rc::clone(&self.counters);
        glommio::spawn_local(async move {
            if produce(&sender, &items, endless, broken, &counters).await.is_none() {
                counters.lists_cancelled.set(counters.lists_cancelled.get() + 1);
            }
        })
        .detach();
        Reply::List(receiver)
    }

    fn next_revision(&self) -> u64 {
        self.revision.set(self.revision.get() + 1);
        self.revision.get()
    }
}

/// Sends the items one by one; `None` when nobody takes them any more.
async fn produce(
    sender: &ListSender,
    items: &[ListItem],
    endless: bool,
    broken: bool,
    counters: &Counters,
) -> Option<()> {
    loop {
        for item in items {
            sender.send(Ok(vec![item.clone()])).await.ok()?;
            counters.chunks_sent.set(counters.chunks_sent.get() + 1);
            if broken {
                return sender.send(Err(Status::no_leader())).await.ok();
            }
        }
        if !endless {
            return Some(());
        }
    }
}

fn status() -> StatusInfo {
    StatusInfo {
        version: "0.0.0".to_owned(),
        name: "one".to_owned(),
        node_id: NodeId(1),
        cluster_id: Some(ClusterId(2)),
        role: Role::Leader,
        leader: "one".to_owned(),
        term: 3,
        commit_index: 4,
        applied_index: 4,
        last_index: 5,
        snapshot_index: 0,
        revision: 6,
        keys: 7,
    }
}
