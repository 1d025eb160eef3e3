//! What is refused, cut off or outlived: foreigners, garbage, floods and silence.

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::TcpStream;

use super::*;

#[test]
fn a_refused_dialer_is_told_the_true_cause() {
    run(async {
        let (member, outsider) = (Node::member(A), Node::outsider(B));
        let link = |cluster, to| (Purpose::Link, cluster, to);
        assert_eq!(
            refusal(link(Some(FOREIGN_CLUSTER), Some(A)), &member).await,
            "it belongs to another cluster, 0000000000000007; to join that one, this node needs \
             an empty data directory"
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
            "it belongs to another cluster, 0000000000000007; to join that one, this node needs \
             an empty data directory"
        );
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
