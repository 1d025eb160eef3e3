//! Stories of two or three transports on one executor, and of raw connections to one.

use std::time::Instant;

use bytes::BufMut;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};

use super::connection::{Broken, Connection};
use super::dial::call;
use super::hello::{Answer, Hello, PROTOCOL_VERSION, Purpose};
use super::*;

mod delivery;
mod gossip;
mod hostile;

const CLUSTER: ClusterId = ClusterId(7);
const FOREIGN_CLUSTER: ClusterId = ClusterId(8);
const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);
const C: NodeId = NodeId(0xc);

/// How long anything may take before a test gives up; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(20);

/// Remembers what the transport told, and answers push-pulls.
#[derive(Default)]
struct Seen {
    messages: RefCell<Vec<(NodeId, Bytes)>>,
    /// Each link that came up (true) or went down, in order.
    turns: RefCell<Vec<(NodeId, bool)>>,
    packets: RefCell<Vec<(SocketAddr, Bytes)>>,
    replies: RefCell<Vec<Result<Bytes, String>>>,
}

impl Seen {
    fn is_up(&self, peer: NodeId) -> bool {
        self.turns.borrow().iter().rev().find(|(id, _)| *id == peer).is_some_and(|(_, up)| *up)
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.messages.borrow().iter().map(|(_, body)| body.clone()).collect()
    }
}

impl PeerEvents for Seen {
    fn message(&self, from: NodeId, body: Bytes) {
        self.messages.borrow_mut().push((from, body));
    }

    fn link_up(&self, peer: NodeId) {
        self.turns.borrow_mut().push((peer, true));
    }

    fn link_down(&self, peer: NodeId) {
        self.turns.borrow_mut().push((peer, false));
    }

    fn packet(&self, from: SocketAddr, bytes: &[u8]) {
        self.packets.borrow_mut().push((from, Bytes::copy_from_slice(bytes)));
    }

    fn push_pull_request(&self, _from: SocketAddr, body: Bytes) -> Option<Bytes> {
        (body != "decline me").then(|| Bytes::from([&b"you said "[..], &body].concat()))
    }

    fn push_pull_reply(&self, _to: SocketAddr, result: Result<Bytes, String>) {
        self.replies.borrow_mut().push(result);
    }
}

struct Node {
    transport: PeerTransport,
    seen: Rc<Seen>,
}

impl Node {
    /// A node of no cluster, on a free port.
    fn outsider(node: NodeId) -> Node {
        Node::at(node, SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port")
    }

    /// A member of the cluster, on a free port.
    fn member(node: NodeId) -> Node {
        let outsider = Node::outsider(node);
        outsider.transport.set_cluster(CLUSTER);
        outsider
    }

    fn at(node: NodeId, bind: SocketAddr) -> Result<Node, PeerError> {
        let seen = Rc::new(Seen::default());
        let config = PeerConfig { bind, node, seed: node.0 };
        let transport = PeerTransport::start(config, Rc::clone(&seen) as Rc<dyn PeerEvents>)?;
        Ok(Node { transport, seen })
    }

    fn addr(&self) -> SocketAddr {
        self.transport.local_addr()
    }

    fn send(&self, to: NodeId, body: &[u8]) -> bool {
        self.transport.send(to, |out| out.put_slice(body))
    }

    /// Links to `peer` and waits until it is up.
    async fn link_to(&self, id: NodeId, peer: &Node) {
        self.transport.set_peer(id, peer.addr().to_string());
        until("the link is up", || self.seen.is_up(id)).await;
    }

    async fn replies(&self, count: usize) -> Vec<Result<Bytes, String>> {
        until("the replies came", || self.seen.replies.borrow().len() == count).await;
        self.seen.replies.take()
    }
}

fn run<T>(story: impl Future<Output = T>) -> T {
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .make()
        .expect("io_uring is at hand")
        .run(story)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "in vain: {what}");
        Timer::new(Duration::from_millis(1)).await;
    }
}

/// What a dialer of another making knows of itself.
fn stranger(node: NodeId, cluster: Option<ClusterId>) -> Local {
    Local { node, seed: 0, cluster: Cell::new(cluster), events: Rc::new(Seen::default()) }
}

async fn raw_link(from: NodeId, to: &Node) -> Rc<Connection> {
    call(&stranger(from, Some(CLUSTER)), to.addr(), Purpose::Link, None).await.expect("accepted")
}

async fn refusal(hello: (Purpose, Option<ClusterId>, Option<NodeId>), to: &Node) -> String {
    let (purpose, cluster, wanted) = hello;
    match call(&stranger(C, cluster), to.addr(), purpose, wanted).await {
        Err(Broken::Refused(cause)) => cause,
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Accepts one link by hand, as a peer of another making would.
async fn accept_by_hand(listener: &TcpListener, node: NodeId) -> Rc<Connection> {
    let stream = listener.accept().await.expect("a dialer comes");
    let connection = Connection::new(stream).expect("it is connected");
    Hello::decode(&connection.next_frame().await.expect("a hello")).expect("of this protocol");
    let answer = Answer { refusal: None, version: PROTOCOL_VERSION, cluster: Some(CLUSTER), node };
    connection.write_all(frame::built(|out| answer.encode(out))).await.expect("it reads");
    connection.allow(MAX_FRAME_BYTES);
    connection
}

async fn is_closed(connection: &Connection) -> bool {
    loop {
        match wait::within(DEADLINE, connection.next_frame()).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
            None => return false,
        }
    }
}
