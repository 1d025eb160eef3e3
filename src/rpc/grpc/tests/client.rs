//! A gRPC client that hides nothing: it sees header fields and can send wrong bytes.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;

use super::super::framing::{Assembler, put_prefix};
use super::super::proto::api;

/// Wide, so that a stream that is not read does not stop the others. A stream's own window is left
/// at 64 KiB.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// One connection.
#[derive(Clone)]
pub(super) struct Client {
    requests: SendRequest<Bytes>,
}

/// A call under way.
pub(super) struct OpenCall {
    pub(super) body: SendStream<Bytes>,
    pub(super) response: ResponseFuture,
}

/// All of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) http_status: u16,
    pub(super) headers: HeaderMap,
    pub(super) messages: Vec<Bytes>,
    pub(super) trailers: HeaderMap,
}

/// The messages of an answer, one by one.
pub(super) struct Messages {
    stream: RecvStream,
    assembler: Assembler,
}

impl Client {
    pub(super) async fn connect(addr: SocketAddr) -> Client {
        let socket = TcpStream::connect(addr).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (requests, connection) = h2::client::Builder::new()
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(socket)
            .await
            .unwrap();
        tokio::spawn(async move {
            // Its end is seen by the calls.
            let _ = connection.await;
        });
        Client { requests }
    }

    /// Whether the server answers a call on a new connection, rather than closing it.
    pub(super) async fn is_admitted(addr: SocketAddr) -> bool {
        let socket = TcpStream::connect(addr).await.unwrap();
        let Ok((requests, connection)) = h2::client::handshake(socket).await else {
            return false;
        };
        let driver = tokio::spawn(connection);
        let Ok(mut requests) = requests.ready().await else { return false };
        let request = Request::get("http://server/").body(()).unwrap();
        let Ok((response, _)) = requests.send_request(request, true) else { return false };
        let is_admitted = response.await.is_ok();
        driver.abort();
        is_admitted
    }

    /// Begins a call whose request follows.
    pub(super) async fn open(&self, path: &str, headers: &[(&str, &str)]) -> OpenCall {
        let mut request = Request::post(format!("http://server{path}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(()).unwrap()).await
    }

    /// Begins any request.
    pub(super) async fn send(&self, request: Request<()>) -> OpenCall {
        let mut requests = self.requests.clone().ready().await.expect("the connection is open");
        let (response, body) = requests.send_request(request, false).unwrap();
        OpenCall { body, response }
    }

    /// Makes a call with one message.
    pub(super) async fn call(&self, path: &str, message: &impl Message) -> Answer {
        self.open(path, &[]).await.finish(framed(message)).await
    }

    pub(super) async fn set(&self, key: &str, value: impl Into<Bytes>) -> Answer {
        let request = api::SetRequest { key: key.to_owned(), value: value.into() };
        self.call("/api.KV/Set", &request).await
    }

    pub(super) async fn get(&self, key: &str) -> Answer {
        self.call("/api.KV/Get", &get_request(key)).await
    }

    /// What the test backend counts under `key`.
    pub(super) async fn counter(&self, key: &str) -> u64 {
        let answer = self.get(key).await;
        let response: api::GetResponse = answer.only();
        str::from_utf8(&response.value).unwrap().parse().unwrap()
    }
}

impl OpenCall {
    /// Sends the last bytes of the request and reads the answer.
    pub(super) async fn finish(mut self, body: Bytes) -> Answer {
        self.body.send_data(body, true).unwrap();
        self.answer().await
    }

    /// Reads the answer, whether or not the request was complete.
    pub(super) async fn answer(self) -> Answer {
        let (http_status, headers, mut messages) = self.messages().await;
        let mut read = Vec::new();
        while let Some(message) = messages.next().await {
            read.push(message);
        }
        // A Trailers-Only answer has its status among the headers.
        let trailers = match messages.stream.trailers().await.unwrap() {
            Some(trailers) => trailers,
            None => headers.clone(),
        };
        Answer { http_status, headers, messages: read, trailers }
    }

    /// Reads the headers of the answer; its messages follow.
    pub(super) async fn messages(self) -> (u16, HeaderMap, Messages) {
        let (parts, stream) = self.response.await.unwrap().into_parts();
        (parts.status.as_u16(), parts.headers, Messages::new(stream))
    }
}

impl Messages {
    pub(super) fn new(stream: RecvStream) -> Messages {
        Messages { stream, assembler: Assembler::default() }
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.assembler.next_message().unwrap() {
                return Some(message);
            }
            let data = poll_fn(|cx| self.stream.poll_data(cx)).await?.unwrap();
            self.stream.flow_control().release_capacity(data.len()).unwrap();
            self.assembler.push(data);
        }
    }

    /// The code of the status that ended the answer.
    pub(super) async fn grpc_status(&mut self) -> u16 {
        let trailers = self.stream.trailers().await.unwrap().expect("a status at the end");
        trailers["grpc-status"].to_str().unwrap().parse().unwrap()
    }
}

impl Answer {
    pub(super) fn grpc_status(&self) -> u16 {
        self.trailers["grpc-status"].to_str().unwrap().parse().unwrap()
    }

    /// The one message of a call that succeeded.
    pub(super) fn only<M: Message + Default>(&self) -> M {
        assert_eq!(self.grpc_status(), 0, "{self:?}");
        assert_eq!(self.messages.len(), 1, "{self:?}");
        M::decode(self.messages[0].clone()).unwrap()
    }

    /// The text for people, with its percent-encoding.
    pub(super) fn grpc_message(&self) -> &str {
        self.trailers["grpc-message"].to_str().unwrap()
    }
}

/// A message with its prefix.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let mut out = BytesMut::new();
    put_prefix(&mut out, message.encoded_len());
    message.encode(&mut out).unwrap();
    out.freeze()
}

pub(super) fn get_request(key: &str) -> api::GetRequest {
    api::GetRequest { key: key.to_owned(), stale: false }
}
