//! The HTTP endpoint: a plain thread, which takes none of the executors' time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::TEXT_FORMAT;

use super::Metrics;

/// Serves the metrics at `addr` on a thread of its own, until the process ends.
pub(in crate::server) fn serve(metrics: Arc<Metrics>, addr: SocketAddr) -> io::Result<()> {
    let server = tiny_http::Server::http(addr).map_err(io::Error::other)?;
    let answer = move || {
        for request in server.incoming_requests() {
            if let Err(error) = respond(&metrics, request) {
                tracing::debug!(%error, "a scrape was not answered");
            }
        }
    };
    std::thread::Builder::new().name("mokv-metrics".to_owned()).spawn(answer)?;
    Ok(())
}

fn respond(metrics: &Metrics, request: tiny_http::Request) -> io::Result<()> {
    if request.url() != "/metrics" {
        let hint = tiny_http::Response::from_string("the metrics are at /metrics\n");
        return request.respond(hint.with_status_code(404));
    }
    let text = metrics.text().map_err(io::Error::other)?;
    let content_type: tiny_http::Header =
        format!("Content-Type: {TEXT_FORMAT}").parse().expect("a constant header");
    request.respond(tiny_http::Response::from_string(text).with_header(content_type))
}
