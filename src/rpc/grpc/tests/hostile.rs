//! Peers that are no clients, and peers that are too many.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Limits;
use super::client::Client;
use super::{with_limits, with_server};
use crate::prng::Prng;

async fn connect_and_send(addr: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // It may fail where the server has closed the connection already, which is seen next.
    let _ = socket.write_all(bytes).await;
    socket
}

/// Waits until the server closes the connection.
async fn see_it_close(mut socket: TcpStream) {
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _ = socket.read_to_end(&mut answer).await;
}

#[test]
fn garbage_ends_its_connection_and_no_other() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        client.set("key", "value").await;
        let tls_client_hello = [0x16, 0x03, 0x01, 0x00, 0xf4, 0x01, 0x00, 0x00, 0xf0, 0x03, 0x03];
        let after_the_preface =
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xff; 64]].concat();
        for bytes in [
            tls_client_hello.as_slice(),
            b"GET / HTTP/1.1\r\nhost: server\r\n\r\n",
            &[0x01; 100],
            &[0; 100],
            &after_the_preface,
        ] {
            see_it_close(connect_and_send(addr, &bytes.repeat(3)).await).await;
            assert_eq!(client.get("key").await.grpc_status(), 0);
        }
    });
}

/// Frames with right lengths and anything in them, on the first few streams.
fn random_frames(prng: &mut Prng) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..prng.below(20) {
        let length = prng.below(40) as u8;
        let (kind, flags, stream) =
            (prng.below(11) as u8, prng.below(64) as u8, prng.below(6) as u8);
        bytes.extend([0, 0, length, kind, flags, 0, 0, 0, stream]);
        bytes.extend((0..length).map(|_| prng.below(256) as u8));
    }
    bytes
}

#[test]
fn random_frames_harm_nobody_but_who_sends_them() {
    with_server(|addr| async move {
        let client = Client::connect(addr).await;
        let mut prng = Prng::new(1);
        for _ in 0..300 {
            let mut socket = connect_and_send(addr, &random_frames(&mut prng)).await;
            // Frames that happen to be right leave the connection open until its client leaves.
            let _ = socket.shutdown().await;
            see_it_close(socket).await;
        }
        assert_eq!(client.set("key", "value").await.grpc_status(), 0);
    });
}

#[test]
fn a_peer_that_says_nothing_disturbs_nobody_and_does_not_delay_a_stop() {
    with_server(|addr| async move {
        let silent = TcpStream::connect(addr).await.unwrap();
        let client = Client::connect(addr).await;
        assert_eq!(client.set("key", "value").await.grpc_status(), 0);
        // Kept open until the server has stopped.
        std::mem::forget(silent.into_std().unwrap());
    });
}

#[test]
fn connections_over_the_limit_are_closed_until_another_one_ends() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    with_limits(limits, |addr| async move {
        let first = Client::connect(addr).await;
        first.set("key", "value").await;
        see_it_close(connect_and_send(addr, b"").await).await;
        assert_eq!(first.get("key").await.grpc_status(), 0);
        drop(first);
        // The server sees the first one leave in its own time.
        while !Client::is_admitted(addr).await {}
    });
}
