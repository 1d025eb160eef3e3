//! One gRPC call at a time, made by hand over HTTP/2: for what no generated client would send.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{RecvStream, client};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

/// A call as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// Such as `/api.KV/Get`.
    pub(crate) path: &'a str,
    /// Headers beside those of every gRPC call.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    /// The body, with the prefix of its message.
    pub(crate) body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The `grpc-status`; `None` when the stream ended without one.
    pub(crate) status: Option<u32>,
    /// The `grpc-message`, percent-encoded as it came.
    pub(crate) message: String,
    /// All data of the response, prefixes included.
    pub(crate) body: Bytes,
}

/// A message with its five-byte prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).expect("a message is smaller than 4 GiB"));
    body.put_slice(message);
    body.freeze()
}

/// Makes a call on a connection of its own.
pub(crate) async fn call(addr: &str, call: &Call<'_>) -> io::Result<Answer> {
    let socket = TcpStream::connect(addr).await?;
    let (sender, connection) = client::handshake(socket).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(connection);
    let answer = exchange(sender, addr, call).await;
    driver.abort();
    answer.map_err(io::Error::other)
}

async fn exchange(
    sender: client::SendRequest<Bytes>,
    addr: &str,
    call: &Call<'_>,
) -> Result<Answer, h2::Error> {
    let mut request = Request::post(format!("http://{addr}{}", call.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("the path and the headers are well formed");
    let (response, mut stream) = sender.ready().await?.send_request(request, false)?;
    // A server may answer before it has read the body, and refuse the rest of it.
    let sent = stream.send_data(call.body.clone(), true);
    let response = response.await?;
    sent?;
    let headers = response.headers().clone();
    let mut stream = response.into_body();
    let body = read_body(&mut stream).await?;
    // An error without a body has its status in the only headers there are.
    let trailers = stream.trailers().await?.unwrap_or(headers);
    Ok(Answer { status: status(&trailers), message: message(&trailers), body })
}

async fn read_body(stream: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.put(data);
    }
    Ok(body.freeze())
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn message(headers: &HeaderMap) -> String {
    let message = headers.get("grpc-message").and_then(|value| value.to_str().ok());
    message.unwrap_or_default().to_owned()
}
