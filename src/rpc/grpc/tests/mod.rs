//! The server as clients see it: over a real socket, by a plain HTTP/2 client.

mod backend;
mod census;
mod client;
mod drain;
mod errors;
mod hostile;
mod kv;
mod observe;
mod streams;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use glommio::net::TcpListener;
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use tokio::sync::oneshot;

use super::{Limits, serve};
use backend::TestBackend;
use census::{Census, Told};
use client::Client;

/// How long any test may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on an executor of its own.
struct Server {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    executor: ExecutorJoinHandle<Told>,
}

impl Server {
    fn start(limits: Limits) -> Server {
        let (stop, stopped) = oneshot::channel();
        let (bound, addr) = std::sync::mpsc::channel();
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(1 << 20)
            .spawn(move || async move {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                bound.send(listener.local_addr().unwrap()).unwrap();
                let stopped = async {
                    let _ = stopped.await;
                };
                let (backend, census) =
                    (Rc::new(TestBackend::default()), Rc::new(Census::default()));
                serve(listener, backend, Rc::clone(&census) as _, limits, stopped).await;
                census.close()
            })
            .expect("the test machine has io_uring");
        Server { addr: addr.recv().unwrap(), stop, executor }
    }

    /// Stops the server; returns what it told its observer, once its last connection is closed.
    fn stop(self) -> Told {
        drop(self.stop);
        self.executor.join().unwrap()
    }
}

/// Runs a story against a server of its own, which must be able to stop after it.
fn with_server<S: Future<Output = ()>>(story: impl FnOnce(SocketAddr) -> S) {
    with_limits(Limits::default(), story);
}

fn with_limits<S: Future<Output = ()>>(limits: Limits, story: impl FnOnce(SocketAddr) -> S) {
    let server = Server::start(limits);
    run(story(server.addr));
    server.stop();
}

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, story).await.expect("the test hangs") })
}

/// Asks until the answer is `wanted`.
async fn eventually(client: &Client, counter: &str, wanted: u64) {
    while client.counter(counter).await != wanted {
        tokio::task::yield_now().await;
    }
}
