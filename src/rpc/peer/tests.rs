//! Stories of two or three transports on one executor, and of raw connections to one.

use std::future::Future;
use std::time::Instant;

use bytes::BufMut;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;
use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement};

use super::acceptor::MAX_STRANGERS;
use super::connection::{Broken, Connection};
use super::dial::call;
use super::hello::{Answer, Hello, PROTOCOL_VERSION, Purpose};
use super::*;

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

#[test]
fn messages_of_all_sizes_arrive_whole_and_in_order() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;
        let sizes = [1, 100, 70_000, 3, 5_000_000, 128 << 10, 1, 999];
        let sent: Vec<Bytes> = sizes.iter().map(|size| vec![*size as u8; *size].into()).collect();
        for body in &sent {
            assert!(a.send(B, body));
        }
        until("all came", || b.seen.messages.borrow().len() == sent.len()).await;
        assert_eq!(b.seen.bodies(), sent);
        assert!(b.seen.messages.borrow().iter().all(|(from, _)| *from == A));
    });
}

#[test]
fn each_direction_has_a_link_of_its_own() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;
        assert!(!b.send(A, b"too early"), "b has not dialed");
        b.link_to(A, &a).await;
        assert!(a.send(B, b"ping") && b.send(A, b"pong"));
        until("both came", || !a.seen.bodies().is_empty() && !b.seen.bodies().is_empty()).await;
        assert_eq!((a.seen.bodies(), b.seen.bodies()), (vec!["pong".into()], vec!["ping".into()]));
    });
}

#[test]
fn messages_of_one_turn_leave_in_one_write() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let a = Node::member(A);
        a.transport.set_peer(B, listener.local_addr().expect("it is bound").to_string());
        let mut stream = listener.accept().await.expect("a dialer comes");
        let answer = Answer { refusal: None, version: PROTOCOL_VERSION, cluster: None, node: B };
        stream.write_all(&frame::built(|out| answer.encode(out))).await.expect("it reads");
        let mut buffer = vec![0; 1 << 16];
        let hello_bytes = stream.read(&mut buffer).await.expect("a hello");
        assert_eq!(hello_bytes, frame::HEADER_BYTES + 32);
        until("the link is up", || a.seen.is_up(B)).await;
        for _ in 0..100 {
            assert!(a.send(B, b"small"));
        }
        let mut read_bytes = stream.read(&mut buffer).await.expect("the messages");
        if read_bytes == frame::KEEPALIVE.len() {
            // This machine is so busy that a second passed before they were sent.
            read_bytes = stream.read(&mut buffer).await.expect("the messages");
        }
        assert_eq!(read_bytes, 100 * (frame::HEADER_BYTES + 5));
    });
}

#[test]
fn a_link_comes_back_after_the_peer_restarts_and_nothing_old_comes_with_it() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;
        let addr = b.addr();
        b.transport.shutdown().await;
        until("the loss is noticed", || !a.seen.is_up(B)).await;
        assert!(!a.send(B, b"into the void"));

        let restarted = Node::at(B, addr).expect("lingering connections do not take the port");
        restarted.transport.set_cluster(CLUSTER);
        until("the link is back", || a.seen.is_up(B)).await;
        assert!(a.send(B, b"welcome back"));
        until("it came", || !restarted.seen.bodies().is_empty()).await;
        assert_eq!(restarted.seen.bodies(), vec!["welcome back"]);
    });
}

#[test]
fn a_refused_dialer_is_told_the_true_cause() {
    run(async {
        let (member, outsider) = (Node::member(A), Node::outsider(B));
        let link = |cluster, to| (Purpose::Link, cluster, to);
        assert_eq!(
            refusal(link(Some(FOREIGN_CLUSTER), Some(A)), &member).await,
            "it belongs to another cluster, 0000000000000007"
        );
        assert_eq!(
            refusal(link(Some(CLUSTER), Some(B)), &member).await,
            "its address now belongs to node 000000000000000a"
        );
        assert_eq!(
            refusal(link(Some(CLUSTER), Some(B)), &outsider).await,
            "it is not a member of a cluster yet"
        );
        assert_eq!(
            refusal((Purpose::PushPull, Some(FOREIGN_CLUSTER), None), &member).await,
            "it belongs to another cluster, 0000000000000007"
        );
    });
}

#[test]
fn a_link_comes_up_once_both_ends_have_joined_the_cluster() {
    run(async {
        let (a, b) = (Node::outsider(A), Node::outsider(B));
        a.transport.set_peer(B, b.addr().to_string());
        a.transport.set_cluster(CLUSTER);
        let dialer = stranger(C, Some(CLUSTER));
        assert!(call(&dialer, b.addr(), Purpose::Link, None).await.is_err());
        assert!(!a.seen.is_up(B));
        b.transport.set_cluster(CLUSTER);
        until("the link is up", || a.seen.is_up(B)).await;
    });
}

#[test]
fn garbage_ends_its_own_connection_and_no_other() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;

        let mut browser = TcpStream::connect(b.addr()).await.expect("it listens");
        browser.write_all(b"GET / HTTP/1.1\r\nHost: b\r\n\r\n").await.expect("it is read");
        assert_eq!(browser.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed without a word");

        let oversized = raw_link(C, &b).await;
        let claim = BytesMut::from(&[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0][..]);
        oversized.write_all(claim).await.expect("it is read");
        assert!(is_closed(&oversized).await);

        let damaged = raw_link(C, &b).await;
        let mut bytes = frame::built(|out| out.put_slice(b"damaged"));
        bytes[frame::HEADER_BYTES] ^= 1;
        damaged.write_all(bytes).await.expect("it is read");
        assert!(is_closed(&damaged).await);

        assert!(a.send(B, b"undisturbed"));
        until("it came", || !b.seen.bodies().is_empty()).await;
        assert_eq!(b.seen.bodies(), vec!["undisturbed"]);
    });
}

#[test]
fn a_dialer_of_another_version_is_told_so() {
    run(async {
        let b = Node::member(B);
        let stream = TcpStream::connect(b.addr()).await.expect("it listens");
        let connection = Connection::new(stream).expect("it is connected");
        let hello = frame::built(|out| out.put_slice(b"MOKV\x63\x00 the speech of version 99"));
        connection.write_all(hello).await.expect("it is read");
        let answer = Answer::decode(&connection.next_frame().await.expect("an answer"));
        let answer = answer.expect("answers keep their layout");
        assert_eq!(
            answer.refusal.map(|refusal| answer.explain(refusal)).as_deref(),
            Some("it speaks version 1 of the peer protocol, this node version 1")
        );
        assert!(is_closed(&connection).await);
    });
}

#[test]
fn connections_that_never_say_hello_do_not_keep_peers_out() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        let mut idle = Vec::new();
        for _ in 0..=MAX_STRANGERS {
            idle.push(TcpStream::connect(b.addr()).await.expect("it listens"));
        }
        a.link_to(B, &b).await;
        let oldest = wait::within(DEADLINE, idle[0].read(&mut [0])).await;
        assert!(matches!(oldest, Some(Ok(0) | Err(_))), "the oldest made room");
        let last = idle.last_mut().expect("there are many");
        let last = wait::within(DEADLINE, last.read(&mut [0])).await;
        assert!(matches!(last, Some(Ok(0) | Err(_))), "the others ran out of time");
        assert!(a.seen.is_up(B));
    });
}

#[test]
fn links_and_push_pulls_over_their_limits_are_turned_away_and_links_in_use_live_on() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;
        let mut others = Vec::new();
        for id in 1..MAX_INBOUND_LINKS as u64 {
            others.push(raw_link(NodeId(1000 + id), &b).await);
        }
        let busy = "it serves as many peers as it may";
        assert_eq!(refusal((Purpose::Link, Some(CLUSTER), None), &b).await, busy);

        let mut idle_askers = Vec::new();
        for _ in 0..MAX_INBOUND_PUSH_PULLS {
            let asker = stranger(C, None);
            let called = call(&asker, b.addr(), Purpose::PushPull, None).await;
            idle_askers.push(called.expect("accepted"));
        }
        assert_eq!(refusal((Purpose::PushPull, None, None), &b).await, busy);
        assert!(is_closed(&idle_askers[0]).await, "an asker that asks nothing runs out of time");
        assert!(a.send(B, b"undisturbed"));
        until("it came", || !b.seen.bodies().is_empty()).await;
    });
}

#[test]
fn a_newer_link_of_a_peer_replaces_its_older_one() {
    run(async {
        let b = Node::member(B);
        let older = raw_link(C, &b).await;
        let newer = raw_link(C, &b).await;
        assert!(is_closed(&older).await);
        newer.write_all(frame::built(|out| out.put_slice(b"new"))).await.expect("it is read");
        until("it came", || !b.seen.bodies().is_empty()).await;
        assert_eq!(b.seen.messages.take(), vec![(C, Bytes::from_static(b"new"))]);
    });
}

#[test]
fn a_peer_that_does_not_read_costs_bounded_memory_and_no_other_peer() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (a, c) = (Node::member(A), Node::member(C));
        a.transport.set_peer(B, listener.local_addr().expect("it is bound").to_string());
        let _never_read = accept_by_hand(&listener, B).await;
        until("the link is up", || a.seen.is_up(B)).await;
        let mebibyte = vec![1; 1 << 20];
        // The kernel's buffers take some too; the link takes no more than its own after that.
        let taken = (0..1000).take_while(|_| a.send(B, &mebibyte)).count();
        assert!((32..=33).contains(&taken), "{taken} MiB were taken in one turn");
        assert!(a.seen.is_up(B), "a slow peer is not a lost one");

        a.link_to(C, &c).await;
        assert!(a.send(C, b"undisturbed"));
        until("it came", || !c.seen.bodies().is_empty()).await;
    });
}

#[test]
fn silence_ends_a_link_on_either_side() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let a = Node::member(A);
        a.transport.set_peer(B, listener.local_addr().expect("it is bound").to_string());
        // Both are served by this test, which keeps the connections open and says nothing.
        let silent_acceptor = accept_by_hand(&listener, B).await;
        let silent_dialer = raw_link(C, &a).await;
        until("the link is up", || a.seen.is_up(B)).await;
        until("the dialer gives up", || !a.seen.is_up(B)).await;
        assert!(is_closed(&silent_dialer).await);
        drop(silent_acceptor);
    });
}

#[test]
fn an_idle_link_is_kept_alive_by_keepalives_which_nobody_sees() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.link_to(B, &b).await;
        // Another link, between the same nodes but silent, is the clock of this test.
        let silent = raw_link(C, &b).await;
        assert!(is_closed(&silent).await);
        assert!(a.seen.is_up(B) && b.seen.bodies().is_empty());
        assert!(a.send(B, b"still here"));
        until("it came", || !b.seen.bodies().is_empty()).await;
    });
}

#[test]
fn a_link_follows_its_peer_to_a_new_address_and_resolves_names() {
    run(async {
        let (a, old, new) = (Node::member(A), Node::member(B), Node::member(B));
        a.link_to(B, &old).await;
        a.transport.set_peer(B, format!("localhost:{}", new.addr().port()));
        let turns = [(B, true), (B, false), (B, true)];
        until("the link is up again", || *a.seen.turns.borrow() == turns).await;
        assert!(a.send(B, b"moved"));
        until("it came", || !new.seen.bodies().is_empty()).await;
        assert!(old.seen.bodies().is_empty());
    });
}

#[test]
fn what_was_sent_before_a_removal_or_a_shutdown_still_arrives() {
    run(async {
        let (a, b, c) = (Node::member(A), Node::member(B), Node::member(C));
        a.link_to(B, &b).await;
        a.link_to(C, &c).await;
        assert!(a.send(B, b"you are removed"));
        a.transport.remove_peer(B);
        assert!(!a.send(B, b"more"), "no link any more");
        let large = vec![7; 8 << 20];
        assert!(a.send(C, &large) && a.send(C, b"goodbye"));
        a.transport.send_packet(c.addr(), "leaving".into());
        a.transport.shutdown().await;
        assert!(!a.seen.is_up(B) && !a.seen.is_up(C));
        until("all came", || b.seen.bodies().len() == 1 && c.seen.bodies().len() == 2).await;
        until("the packet came", || c.seen.packets.borrow().len() == 1).await;
    });
}

#[test]
fn a_push_pull_brings_one_reply() {
    run(async {
        // A newcomer asks a member: that is how it learns of the cluster.
        let (a, b) = (Node::outsider(A), Node::member(B));
        a.transport.push_pull(b.addr(), "hello".into());
        assert_eq!(a.replies(1).await, vec![Ok("you said hello".into())]);
        let large = Bytes::from(vec![1; MAX_PUSH_PULL_BYTES - 100]);
        a.transport.push_pull(b.addr(), large.clone());
        let reply = a.replies(1).await.remove(0).expect("it fits");
        assert_eq!(reply.len(), b"you said ".len() + large.len());
    });
}

#[test]
fn a_push_pull_that_fails_says_why() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        a.transport.push_pull(b.addr(), "decline me".into());
        let declined = "it declined: it closed without a reply".to_owned();
        assert_eq!(a.replies(1).await, vec![Err(declined)]);

        let outsider = Node::outsider(C);
        outsider.transport.set_cluster(FOREIGN_CLUSTER);
        outsider.transport.push_pull(b.addr(), "hello".into());
        let refused =
            "the peer refuses: it belongs to another cluster, 0000000000000007".to_owned();
        assert_eq!(outsider.replies(1).await, vec![Err(refused)]);

        a.transport.push_pull(b.addr(), vec![0; MAX_PUSH_PULL_BYTES + 1].into());
        let too_large =
            "the request has 1048577 bytes; a push-pull carries at most 1048576".to_owned();
        assert_eq!(a.replies(1).await, vec![Err(too_large)]);

        b.transport.shutdown().await;
        a.transport.push_pull(b.addr(), "hello".into());
        assert!(a.replies(1).await[0].is_err(), "nobody listens");
    });
}

#[test]
fn push_pulls_over_the_limit_fail_at_once_and_the_others_do_not() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        for _ in 0..MAX_OUTGOING_PUSH_PULLS + 3 {
            a.transport.push_pull(b.addr(), "hello".into());
        }
        assert!(a.seen.replies.borrow().is_empty(), "no event comes from inside a call");
        let replies = a.replies(MAX_OUTGOING_PUSH_PULLS + 3).await;
        assert_eq!(replies.iter().filter(|reply| reply.is_err()).count(), 3);
    });
}

#[test]
fn packets_come_with_the_address_of_their_sender() {
    run(async {
        let (a, b) = (Node::outsider(A), Node::outsider(B));
        for i in 0..100_u8 {
            a.transport.send_packet(b.addr(), Bytes::from(vec![i; 1 + i as usize]));
        }
        a.transport.send_packet(b.addr(), Bytes::from(vec![100; MAX_PACKET_BYTES]));
        until("all came", || b.seen.packets.borrow().len() == 101).await;
        for (i, (from, packet)) in b.seen.packets.borrow().iter().enumerate() {
            assert_eq!((*from, packet[0] as usize), (a.addr(), i));
        }
        assert_eq!(b.seen.packets.borrow()[100].1.len(), MAX_PACKET_BYTES);
    });
}

#[test]
fn a_packet_over_the_limit_is_dropped_not_cut() {
    run(async {
        let b = Node::outsider(B);
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        sender.send_to(&vec![1; MAX_PACKET_BYTES + 1], b.addr()).expect("loopback takes it");
        sender.send_to(b"small", b.addr()).expect("loopback takes it");
        until("one came", || !b.seen.packets.borrow().is_empty()).await;
        assert_eq!(b.seen.packets.borrow()[0].1, "small");
    });
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let a = Node::outsider(A);
        let taken = Node::at(B, a.addr()).err().expect("a has the port").to_string();
        let port = a.addr().port();
        assert_eq!(
            taken,
            format!(
                "tcp port {port} on 127.0.0.1 is in use by another process; stop it, or bind another address"
            )
        );

        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let addr = udp.local_addr().expect("it is bound");
        let taken = Node::at(B, addr).err().expect("the socket has the port").to_string();
        assert!(taken.starts_with(&format!("udp port {}", addr.port())), "{taken}");

        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 8401));
        let unbound = Node::at(B, elsewhere).err().expect("not of this machine").to_string();
        assert!(unbound.starts_with("cannot bind tcp address 192.0.2.1:8401: "), "{unbound}");
    });
}
