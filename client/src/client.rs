//! The calls, and the one loop that tries them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Channel;

use crate::failure::{Error, Failure, Intent};
use crate::list::List;
use crate::options::Options;
use crate::pool::Pool;
use crate::proto::api::kv_client::KvClient;
use crate::proto::api::{DeleteRequest, GetRequest, Server, SetRequest};
use crate::proto::health::HealthCheckRequest;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_client::HealthClient;
use crate::proto::v1::admin_client::AdminClient;
use crate::proto::v1::{LeaveRequest, StatusRequest, StatusResponse, TransferLeadershipRequest};

/// The longest value that can be written, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

/// The pause before the second try of a call that finds nobody to serve it; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause between two tries. An election takes a few hundred milliseconds, and a client
/// should notice its end soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The time a question for the members may take in the middle of another call.
const REFRESH_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection to a cluster. Clones share it; it is cheap to clone and safe to use from many tasks.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Pool>,
}

/// The answer to a get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub value: Bytes,
    /// The revision of the write that made it.
    pub revision: u64,
}

impl Client {
    /// A client of the cluster that one of `endpoints` (`host:port`) belongs to. It does no I/O
    /// before the first call, and must be made within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no endpoint or one is malformed.
    pub fn new<I, S>(endpoints: I, options: Options) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let endpoints = endpoints.into_iter().map(Into::into).collect();
        Ok(Client { pool: Arc::new(Pool::new(endpoints, options)?) })
    }

    /// Like [`Client::new`], and learns the members of the cluster.
    ///
    /// # Errors
    /// Also when no endpoint answered within [`Options::timeout`].
    pub async fn connect<I, S>(endpoints: I, options: Options) -> Result<Client, Error>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let client = Client::new(endpoints, options)?;
        client.servers().await?;
        Ok(client)
    }

    /// Reads one key, linearizably: the answer reflects every write acknowledged before the call.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the key has no value.
    pub async fn get(&self, key: impl Into<String>) -> Result<Value, Error> {
        self.read_key(key.into(), false).await
    }

    /// Reads one key from the memory of whichever member is asked, however old that is. It needs no
    /// leader and no quorum.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the key has no value there.
    pub async fn get_stale(&self, key: impl Into<String>) -> Result<Value, Error> {
        self.read_key(key.into(), true).await
    }

    /// Writes one key and returns the write's revision.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the write may have happened; any other error means it did not.
    pub async fn set(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<u64, Error> {
        let request = SetRequest { key: key.into(), value: value.into() };
        if request.value.len() > MAX_VALUE_BYTES {
            let message = format!("the value is longer than {MAX_VALUE_BYTES} bytes");
            return Err(Error::Invalid { message });
        }
        let reply = self
            .call(Intent::Write, |this| {
                let request = this.request(request.clone());
                async move { Ok(KvClient::new(this.channel).set(request).await?.into_inner()) }
            })
            .await?;
        Ok(reply.revision)
    }

    /// Removes one key and returns the write's revision. Removing a missing key succeeds.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the write may have happened; any other error means it did not.
    pub async fn delete(&self, key: impl Into<String>) -> Result<u64, Error> {
        let request = DeleteRequest { key: key.into() };
        let reply = self
            .call(Intent::Write, |this| {
                let request = this.request(request.clone());
                async move { Ok(KvClient::new(this.channel).delete(request).await?.into_inner()) }
            })
            .await?;
        Ok(reply.revision)
    }

    /// Reads all keys as they were at one position of the log.
    ///
    /// # Errors
    /// When no member could begin the answer in time.
    pub async fn list(&self) -> Result<List, Error> {
        let options = self.pool.options().clone();
        self.call(Intent::Read, |this| {
            let options = options.clone();
            async move {
                // No grpc-timeout: the whole stream may take longer than any one item.
                let stream = KvClient::new(this.channel).list(()).await?.into_inner();
                List::start(this.addr, options, stream).await
            }
        })
        .await
    }

    /// The members of the cluster, as the member that answers knows them.
    ///
    /// # Errors
    /// When no member answered in time.
    pub async fn servers(&self) -> Result<Vec<Server>, Error> {
        let servers = self.try_until_answered(Intent::Read, get_servers).await?;
        self.pool.learn(&servers);
        Ok(servers)
    }

    /// What the member at `endpoint` knows of itself and its cluster.
    ///
    /// # Errors
    /// When that member does not answer in time; no other is asked.
    pub async fn status(&self, endpoint: &str) -> Result<StatusResponse, Error> {
        self.call_one(endpoint, Intent::Read, |this| async move {
            let request = this.request(StatusRequest {});
            Ok(AdminClient::new(this.channel).status(request).await?.into_inner())
        })
        .await
    }

    /// Whether the member at `endpoint` says SERVING for a `grpc.health.v1` service: the empty one
    /// (the member knows a leader and has caught up), `liveness`, `readiness` or `startup`.
    ///
    /// # Errors
    /// When that member does not answer in time or does not know the service.
    pub async fn health(&self, endpoint: &str, service: &str) -> Result<bool, Error> {
        let message = HealthCheckRequest { service: service.to_owned() };
        let reply = self
            .call_one(endpoint, Intent::Read, |this| async move {
                let request = this.request(message);
                Ok(HealthClient::new(this.channel).check(request).await?.into_inner())
            })
            .await?;
        Ok(reply.status() == ServingStatus::Serving)
    }

    /// Removes the member at `endpoint` from its cluster for good. It is asked once.
    ///
    /// # Errors
    /// [`Error::OutcomeUnknown`] when the removal may still happen.
    pub async fn leave(&self, endpoint: &str) -> Result<(), Error> {
        self.call_one(endpoint, Intent::Write, |this| async move {
            let request = this.request(LeaveRequest {});
            AdminClient::new(this.channel).leave(request).await?;
            Ok(())
        })
        .await
    }

    /// Hands leadership to the voter named `to`, or to the most advanced one when `to` is empty.
    /// The leader is looked up first and asked once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no leader; [`Error::Invalid`] when it refuses.
    pub async fn transfer_leadership(&self, to: &str) -> Result<(), Error> {
        self.servers().await?;
        let Some(leader) = self.pool.leader() else {
            let message = "the cluster has no leader now; try again".to_owned();
            return Err(Error::Unavailable { message });
        };
        let message = TransferLeadershipRequest { to: to.to_owned() };
        self.call_one(&leader, Intent::Write, |this| async move {
            let request = this.request(message);
            AdminClient::new(this.channel).transfer_leadership(request).await?;
            Ok(())
        })
        .await
    }

    async fn read_key(&self, key: String, stale: bool) -> Result<Value, Error> {
        let request = GetRequest { key, stale };
        let reply = self
            .call(Intent::Read, |this| {
                let request = this.request(request.clone());
                async move { Ok(KvClient::new(this.channel).get(request).await?.into_inner()) }
            })
            .await?;
        Ok(Value { value: reply.value, revision: reply.revision })
    }

    /// Makes a call, and sees to it that the member list does not grow old meanwhile.
    async fn call<T, F, Fut>(&self, intent: Intent, send: F) -> Result<T, Error>
    where
        F: Fn(Try) -> Fut,
        Fut: Future<Output = Result<T, tonic::Status>>,
    {
        self.refresh_in_background();
        self.try_until_answered(intent, send).await
    }

    /// Tries `send` on one member after the other until it is answered, may not be repeated, or has
    /// run out of time.
    async fn try_until_answered<T, F, Fut>(&self, intent: Intent, send: F) -> Result<T, Error>
    where
        F: Fn(Try) -> Fut,
        Fut: Future<Output = Result<T, tonic::Status>>,
    {
        let options = self.pool.options();
        let deadline = Instant::now() + options.timeout;
        let mut pause = FIRST_PAUSE;
        let mut failed_at: Option<String> = None;
        loop {
            let addr = self.pool.choose(intent, failed_at.as_deref());
            let remaining = deadline.saturating_duration_since(Instant::now());
            let budget = match intent {
                Intent::Read => remaining.min(options.try_timeout),
                Intent::Write => remaining,
            };
            let failure = match self.try_once(&addr, budget, &send).await? {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let remaining = deadline.saturating_duration_since(Instant::now());
            if !failure.allows_retry(intent) || remaining <= pause {
                return Err(failure.into_error(intent));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if options.discover {
                self.refresh(Some(&addr), remaining.min(REFRESH_TIMEOUT)).await;
            }
            failed_at = Some(addr);
        }
    }

    /// Asks one given member, once.
    async fn call_one<T, F, Fut>(&self, endpoint: &str, intent: Intent, send: F) -> Result<T, Error>
    where
        F: FnOnce(Try) -> Fut,
        Fut: Future<Output = Result<T, tonic::Status>>,
    {
        let answer = self.try_once(endpoint, self.pool.options().timeout, send).await?;
        answer.map_err(|failure| failure.into_error(intent))
    }

    /// One try. The outer error means that `addr` is not an address.
    async fn try_once<T, F, Fut>(
        &self,
        addr: &str,
        budget: Duration,
        send: F,
    ) -> Result<Result<T, Failure>, Error>
    where
        F: FnOnce(Try) -> Fut,
        Fut: Future<Output = Result<T, tonic::Status>>,
    {
        let channel = self.pool.channel(addr)?;
        let this = Try { addr: addr.to_owned(), channel, budget };
        let failure = match tokio::time::timeout(budget, send(this)).await {
            Ok(Ok(answer)) => return Ok(Ok(answer)),
            Ok(Err(status)) => Failure::judge(addr, &status),
            Err(_elapsed) => Failure::timed_out(addr),
        };
        if failure.connection_lost {
            self.pool.cool(addr);
        }
        Ok(Err(failure))
    }

    /// Asks any member but `failed` for the members. A failure is no news: the call that needs the
    /// answer goes on with the members it knows, and reports its own failure.
    async fn refresh(&self, failed: Option<&str>, budget: Duration) {
        let addr = self.pool.choose(Intent::Read, failed);
        let answer = self.try_once(&addr, budget, get_servers).await;
        if let Ok(Ok(servers)) = answer {
            self.pool.learn(&servers);
        }
    }

    /// Keeps the member list fresh without making any call wait for it.
    fn refresh_in_background(&self) {
        if self.pool.claim_refresh() {
            let client = self.clone();
            tokio::spawn(async move { client.refresh(None, REFRESH_TIMEOUT).await });
        }
    }
}

/// What one try of a call is made with.
struct Try {
    addr: String,
    channel: Channel,
    budget: Duration,
}

impl Try {
    /// A request that tells the server when this side will have stopped waiting.
    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(self.budget);
        request
    }
}

async fn get_servers(this: Try) -> Result<Vec<Server>, tonic::Status> {
    let request = this.request(());
    Ok(KvClient::new(this.channel).get_servers(request).await?.into_inner().servers)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::fake::{Answer, Fake};

    fn options() -> Options {
        Options { timeout: Duration::from_secs(10), ..Options::default() }
    }

    async fn client_of(members: &[Fake]) -> Client {
        let seed = members[0].addr.clone();
        Client::connect([seed], options()).await.expect("the seed answers")
    }

    fn calls(members: &[Fake]) -> Vec<usize> {
        members.iter().map(|member| member.seen().len()).collect()
    }

    #[tokio::test]
    async fn a_write_goes_to_the_leader_and_reads_go_to_the_followers_in_turn() {
        let members = Fake::cluster(3).await;
        let client = client_of(&members).await;
        client.set("k", "v").await.expect("the leader serves");
        client.delete("k").await.expect("the leader serves");
        assert_eq!(members[0].seen(), ["set", "delete"]);
        for _ in 0..4 {
            assert_eq!(client.get("k").await, Err(Error::NotFound));
        }
        assert_eq!(calls(&members), [2, 2, 2]);
    }

    #[tokio::test]
    async fn a_client_that_discovers_nobody_asks_its_endpoint_alone() {
        let members = Fake::cluster(3).await;
        let options = Options { discover: false, ..options() };
        let client = Client::connect([members[1].addr.clone()], options).await.expect("it serves");
        client.set("k", "v").await.expect("it serves");
        members[1].answer([Answer::Fail(Code::Unavailable, Some("not_done"))]);
        assert_eq!(client.get("k").await.expect("its second try is served").value, "v");
        assert_eq!(calls(&members), [0, 3, 0]);
    }

    #[tokio::test]
    async fn a_read_that_finds_a_member_unavailable_asks_the_next_one() {
        let members = Fake::cluster(3).await;
        let client = client_of(&members).await;
        for member in &members {
            member.edit(|script| drop(script.map.insert("k".into(), "v".into())));
            member.answer([Answer::Fail(Code::Unavailable, Some("not_done"))]);
        }
        assert_eq!(client.get("k").await.expect("the second round serves").value, "v");
        assert!(calls(&members).iter().sum::<usize>() >= 2);
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_given_to_another_member_after_the_try_timeout() {
        let members = Fake::cluster(2).await;
        let options = Options { try_timeout: Duration::from_millis(200), ..options() };
        let client = Client::connect([members[0].addr.clone()], options).await.expect("up");
        members[0].edit(|script| drop(script.map.insert("k".into(), "v".into())));
        members[1].answer([Answer::Hang]);
        assert_eq!(client.get("k").await.expect("the leader serves").value, "v");
        assert_eq!(members[1].seen(), ["get"]);
    }

    #[tokio::test]
    async fn a_write_that_certainly_did_not_happen_is_sent_again() {
        let members = Fake::cluster(1).await;
        let client = client_of(&members).await;
        members[0].answer(vec![Answer::Fail(Code::Unavailable, Some("not_done")); 3]);
        client.set("k", "v").await.expect("the fourth try is served");
        assert_eq!(members[0].seen(), ["set"; 4]);
    }

    #[tokio::test]
    async fn a_write_whose_outcome_is_unknown_is_reported_and_never_sent_again() {
        for outcome in [Some("unknown"), None] {
            let members = Fake::cluster(3).await;
            let client = client_of(&members).await;
            members[0].answer([Answer::Fail(Code::Unavailable, outcome)]);
            let error = client.set("k", "v").await.expect_err("nobody knows");
            assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
            assert_eq!(calls(&members), [1, 0, 0]);
        }
    }

    #[tokio::test]
    async fn a_write_that_is_never_answered_has_an_unknown_outcome_at_the_deadline() {
        let members = Fake::cluster(1).await;
        let options = Options { timeout: Duration::from_millis(200), ..options() };
        let client = Client::connect([members[0].addr.clone()], options).await.expect("up");
        members[0].answer([Answer::Hang]);
        let error = client.set("k", "v").await.expect_err("it hangs");
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
        assert_eq!(members[0].seen(), ["set"]);
    }

    #[tokio::test]
    async fn a_write_to_a_dead_leader_reaches_the_cluster_through_a_follower() {
        let mut members = Fake::cluster(3).await;
        let client = client_of(&members[1..]).await;
        members.remove(0).kill().await;
        // The followers still name the dead leader; connecting to it is refused, so nothing
        // happened there, and any other member may be asked.
        client.set("k", "v").await.expect("a follower forwards it");
        assert_eq!(calls(&members).iter().sum::<usize>(), 1);
    }

    #[tokio::test]
    async fn a_new_leader_is_found_after_a_refusal() {
        let members = Fake::cluster(3).await;
        let client = client_of(&members).await;
        members[0].answer(vec![Answer::Fail(Code::Unavailable, Some("not_done")); 100]);
        Fake::elect(&members, Some(2));
        let deadline = Instant::now() + Duration::from_secs(10);
        while members[2].seen().is_empty() {
            assert!(Instant::now() < deadline, "the new leader is not found");
            client.set("k", "v").await.expect("somebody serves");
        }
        let refused = members[0].seen().len();
        client.set("k", "v").await.expect("the new leader serves");
        assert_eq!(members[0].seen().len(), refused);
    }

    #[tokio::test]
    async fn a_refused_request_is_invalid_and_not_repeated() {
        let members = Fake::cluster(1).await;
        let client = client_of(&members).await;
        members[0].answer([Answer::Fail(Code::InvalidArgument, Some("not_done"))]);
        let error = client.set("", "v").await.expect_err("refused");
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert_eq!(members[0].seen().len(), 1);
    }

    #[tokio::test]
    async fn with_nobody_there_a_write_says_that_nothing_was_changed() {
        let addr = Fake::start().await.kill().await;
        let options = Options { timeout: Duration::from_millis(100), ..options() };
        let client = Client::new([addr.clone()], options).expect("a valid address");
        let error = client.set("k", "v").await.expect_err("nobody listens");
        let Error::Unavailable { message } = &error else { panic!("{error:?}") };
        assert!(message.contains(&addr) && message.contains("refused"), "{message}");
    }

    #[tokio::test]
    async fn a_connection_lost_under_a_write_leaves_its_outcome_unknown() {
        // A server that takes one HTTP/2 connection and drops it at the first request.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
            let _request = connection.accept().await;
        });
        let client = Client::new([addr], options()).expect("a valid address");
        let error = client.set("k", "v").await.expect_err("the connection broke");
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_refused_stream_certainly_did_nothing() {
        // A server that refuses the first stream and answers the second one with NOT_FOUND.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound").to_string();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
            let mut sets = 0;
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/api.KV/Set" {
                    sets += 1;
                    if sets == 1 {
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                        continue;
                    }
                }
                let trailers_only = http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "3")
                    .body(())
                    .expect("a valid response");
                respond.send_response(trailers_only, true).expect("the stream is open");
            }
        });
        let client = Client::new([addr], options()).expect("a valid address");
        let error = client.set("k", "v").await.expect_err("the second try is refused for good");
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_list_carries_every_item_and_ends() {
        let members = Fake::cluster(1).await;
        let client = client_of(&members).await;
        for n in 0..100 {
            client.set(format!("k{n}"), format!("v{n}")).await.expect("served");
        }
        let mut list = client.list().await.expect("served");
        let mut count = 0;
        while let Some(item) = list.next().await.expect("the stream is whole") {
            assert_eq!(item.key.replace('k', "v"), item.value);
            count += 1;
        }
        assert_eq!(count, 100);
        assert_eq!(list.next().await, Ok(None));
    }
}
