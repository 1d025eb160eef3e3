//! Push-pulls and packets.

use super::*;

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
            "the peer refuses: it belongs to another cluster, 0000000000000007; to join that one, this node needs \
             an empty data directory".to_owned();
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
