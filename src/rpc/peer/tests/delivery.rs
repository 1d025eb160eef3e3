//! Links: what is sent arrives, whole and in order, for as long as both ends live.

use bytes::Buf;
use futures_lite::future::or;
use futures_lite::io::{self, AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;

use super::*;
use crate::prng::Prng;

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

/// Passes the bytes of one connection on, and cuts it after `cut_bytes` from the dialer.
async fn pass_on(listener: &TcpListener, to: SocketAddr, cut_bytes: u64) {
    let dialer = listener.accept().await.expect("a dialer comes");
    let acceptor = TcpStream::connect(to).await.expect("it listens");
    let ((from_dialer, to_dialer), (from_acceptor, to_acceptor)) =
        (io::split(dialer), io::split(acceptor));
    let there = io::copy(from_dialer.take(cut_bytes), to_acceptor);
    let back = io::copy(from_acceptor, to_dialer);
    or(there, back).await.expect("neither end breaks first");
}

#[test]
fn a_connection_cut_anywhere_loses_messages_but_damages_and_reorders_none() {
    run(async {
        let (a, b) = (Node::member(A), Node::member(B));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        a.transport.set_peer(B, listener.local_addr().expect("it is bound").to_string());
        let cutter = {
            let to = b.addr();
            glommio::spawn_local(async move {
                let mut prng = Prng::new(4);
                for _ in 0..5 {
                    pass_on(&listener, to, 40 + prng.below(200_000)).await;
                }
                pass_on(&listener, to, u64::MAX).await;
            })
        };
        let last = u64::MAX;
        let has_last = || b.seen.bodies().last().is_some_and(|body| numbered(last) == *body);
        let (start, mut number) = (Instant::now(), 0);
        while a.seen.turns.borrow().len() < 11 {
            assert!(start.elapsed() < DEADLINE, "in vain: five cuts, six times up");
            a.send(B, &numbered(number));
            number += 1;
            Timer::new(Duration::from_micros(100)).await;
        }
        assert!(a.send(B, &numbered(last)), "the link is up");
        until("the last one came", has_last).await;
        let bodies = b.seen.bodies();
        assert!(bodies.len() > 100, "many came");
        assert!(bodies.windows(2).all(|two| two[0] < two[1]), "in order");
        assert!(bodies.iter().all(|body| numbered(body.as_ref().get_u64()) == *body), "whole");
        cutter.cancel().await;
    });
}

/// A message that begins with `number` and whose length and bytes follow from it.
fn numbered(number: u64) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u64(number);
    body.put_bytes(number as u8, (number % 3000) as usize);
    body.freeze()
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
fn a_taken_port_is_named() {
    run(async {
        let a = Node::outsider(A);
        let taken = Node::at(B, a.addr()).err().expect("a has the port").to_string();
        let port = a.addr().port();
        assert_eq!(
            taken,
            format!(
                "tcp port {port} on 127.0.0.1 is in use by another process; \
                 stop it, or bind another address"
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
