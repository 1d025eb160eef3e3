//! Whether Kubernetes wants this pod back: for `mokv leave --if-scaled-down`.
//!
//! A pod that is told to end cannot see why. A rollout, a drained node and a smaller cluster look the
//! same from inside, but only in the last case must the member leave. The number that tells them apart
//! is `spec.replicas` of the pod's StatefulSet, which keeps the pods of the lowest ordinals.
//!
//! ```text
//!   replicas: 3     mokv-0  mokv-1  mokv-2 | mokv-3  mokv-4
//!                                          | surplus: they leave
//! ```
//!
//! The API is asked as every pod may ask it: over TLS, with the token and the authority's certificate
//! that Kubernetes mounts, and with a role that may get this one StatefulSet.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::exit::CliError;

/// Where Kubernetes mounts what a pod needs to talk to the API.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The API answers within this time, or counts as out of reach.
const API_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a StatefulSet with a long history of managed fields.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// This pod, and how it reaches the API.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    name: String,
    namespace: String,
    stateful_set: String,
    api_host: String,
    api_port: u16,
    credentials: PathBuf,
}

/// What matters of a StatefulSet.
#[derive(Debug, Deserialize)]
struct StatefulSet {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    #[serde(default = "one")]
    replicas: u32,
    #[serde(default)]
    ordinals: Ordinals,
}

#[derive(Debug, Default, Deserialize)]
struct Ordinals {
    #[serde(default)]
    start: u32,
}

fn one() -> u32 {
    1
}

impl Pod {
    /// The pod that this process runs in.
    ///
    /// # Errors
    /// When a variable is missing: then this is no pod, or its manifest does not name it.
    pub(crate) fn from_env() -> Result<Pod, CliError> {
        let variable = |name: &str| {
            std::env::var(name).map_err(|_| {
                CliError::Usage(format!(
                    "{name} is not set: --if-scaled-down works in a pod whose manifest sets POD_NAME, \
                     POD_NAMESPACE and STATEFULSET_NAME"
                ))
            })
        };
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        Ok(Pod {
            name: variable("POD_NAME")?,
            namespace: variable("POD_NAMESPACE")?,
            stateful_set: variable("STATEFULSET_NAME")?,
            api_host: variable("KUBERNETES_SERVICE_HOST")?,
            api_port: port.parse().map_err(|_| {
                CliError::Usage(format!("KUBERNETES_SERVICE_PORT is {port:?}, which is no port"))
            })?,
            credentials: CREDENTIALS.into(),
        })
    }

    /// Whether the StatefulSet wants so few pods that this one is not among them.
    ///
    /// # Errors
    /// When the API cannot be asked, or answers something else.
    pub(crate) async fn is_surplus(&self) -> Result<bool, CliError> {
        let unknown = |cause: String| {
            CliError::Failed(format!(
                "whether the cluster was scaled down is not known, so this member stays one: {cause}"
            ))
        };
        let set = within(API_TIMEOUT, self.stateful_set()).await.map_err(unknown)?;
        surplus(&self.name, &set).map_err(unknown)
    }

    async fn stateful_set(&self) -> Result<StatefulSet, String> {
        let tls = TlsConnector::from(Arc::new(self.tls_config()?));
        let host = ServerName::try_from(self.api_host.clone())
            .map_err(|error| format!("{}: {error}", self.api_host))?;
        let socket = TcpStream::connect((self.api_host.as_str(), self.api_port)).await;
        let socket = socket.map_err(|error| {
            format!("the API at {} port {}: {error}", self.api_host, self.api_port)
        })?;
        let stream = tls.connect(host, socket).await.map_err(|error| format!("TLS: {error}"))?;
        let (mut sender, connection) =
            h2::client::handshake(stream).await.map_err(|error| format!("HTTP/2: {error}"))?;
        let asked = async {
            let request = self.request()?;
            let (response, _) =
                sender.send_request(request, true).map_err(|error| error.to_string())?;
            read(response.await.map_err(|error| error.to_string())?).await
        };
        let ended = async {
            let cause =
                connection.await.err().map_or("it said nothing".to_owned(), |e| e.to_string());
            Err(format!("the API ended the connection: {cause}"))
        };
        tokio::select! { answer = asked => answer, answer = ended => answer }
    }

    fn request(&self) -> Result<http::Request<()>, String> {
        let file = self.credentials.join("token");
        let token = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let host = bracketed(&self.api_host);
        let uri = format!(
            "https://{host}:{}/apis/apps/v1/namespaces/{}/statefulsets/{}",
            self.api_port, self.namespace, self.stateful_set
        );
        http::Request::get(uri)
            .header("authorization", format!("Bearer {}", token.trim()))
            .header("accept", "application/json")
            .body(())
            .map_err(|error| error.to_string())
    }

    fn tls_config(&self) -> Result<ClientConfig, String> {
        let file = self.credentials.join("ca.crt");
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&file).map_err(|error| problem(&error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| problem(&error))?;
            roots.add(certificate).map_err(|error| problem(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

/// Whether `set` wants so few pods that `pod` is not among them. A set that is scaled to nothing or
/// deleted is stopped, not made smaller: its members keep their data.
fn surplus(pod: &str, set: &StatefulSet) -> Result<bool, String> {
    let ordinal: Option<u32> = pod.rsplit_once('-').and_then(|(_, ordinal)| ordinal.parse().ok());
    let ordinal = ordinal.ok_or_else(|| format!("{pod} does not end in an ordinal"))?;
    let is_stopped = set.spec.replicas == 0 || set.metadata.deletion_timestamp.is_some();
    Ok(!is_stopped && ordinal >= set.spec.ordinals.start.saturating_add(set.spec.replicas))
}

async fn read(response: http::Response<h2::RecvStream>) -> Result<StatefulSet, String> {
    let status = response.status();
    let mut stream = response.into_body();
    let mut body = BytesMut::new();
    while let Some(part) = stream.data().await {
        let part = part.map_err(|error| error.to_string())?;
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(format!("the API's answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        body.extend_from_slice(&part);
        stream.flow_control().release_capacity(part.len()).map_err(|error| error.to_string())?;
    }
    match status {
        http::StatusCode::OK => {
            serde_json::from_slice(&body).map_err(|error| format!("the API's answer: {error}"))
        }
        http::StatusCode::FORBIDDEN | http::StatusCode::UNAUTHORIZED => Err(format!(
            "the API says {status}; this pod's service account needs a role to get its StatefulSet"
        )),
        other => Err(format!("the API says {other}")),
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let late = |_| Err(format!("the API gave no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn set(text: &str) -> StatefulSet {
        serde_json::from_str(text).expect("a StatefulSet")
    }

    #[test]
    fn the_pods_of_the_highest_ordinals_are_surplus() {
        let of_three = r#"{"metadata": {}, "spec": {"replicas": 3}}"#;
        let from_five = r#"{"metadata": {}, "spec": {"replicas": 2, "ordinals": {"start": 5}}}"#;
        let of_one = r#"{"metadata": {}, "spec": {}}"#;
        for (pod, text, expected) in [
            ("mokv-2", of_three, false),
            ("mokv-3", of_three, true),
            ("a-b-10", of_three, true),
            ("mokv-6", from_five, false),
            ("mokv-7", from_five, true),
            ("mokv-0", of_one, false),
            ("mokv-1", of_one, true),
        ] {
            assert_eq!(surplus(pod, &set(text)), Ok(expected), "{pod} of {text}");
        }
        assert!(surplus("mokv", &set(of_three)).is_err(), "no ordinal");
    }

    #[test]
    fn who_is_stopped_with_all_others_is_not_surplus() {
        let to_nothing = r#"{"metadata": {}, "spec": {"replicas": 0}}"#;
        let deleted = r#"{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"replicas": 1}}"#;
        for text in [to_nothing, deleted] {
            assert_eq!(surplus("mokv-2", &set(text)), Ok(false), "{text}");
        }
    }

    /// An API that gives one answer, and a pod that may ask it.
    async fn api(status: u16, answer: &'static str, dir: &Path) -> Pod {
        let names = vec!["127.0.0.1".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(dir.join("ca.crt"), issued.cert.pem()).expect("a file");
        std::fs::write(dir.join("token"), "secret\n").expect("a file");
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .expect("a certificate and its key");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.expect("a client");
            let stream = TlsAcceptor::from(Arc::new(config)).accept(socket).await.expect("TLS");
            let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
            while let Some(request) = connection.accept().await {
                let (request, mut respond) = request.expect("a request");
                let path = "/apis/apps/v1/namespaces/kv/statefulsets/mokv";
                assert_eq!(request.uri().path(), path);
                assert_eq!(request.headers()["authorization"], "Bearer secret");
                let response =
                    http::Response::builder().status(status).body(()).expect("it is whole");
                let mut body = respond.send_response(response, false).expect("a client that waits");
                body.send_data(answer.into(), true).expect("a client that waits");
            }
        });
        Pod {
            name: "mokv-3".to_owned(),
            namespace: "kv".to_owned(),
            stateful_set: "mokv".to_owned(),
            api_host: addr.ip().to_string(),
            api_port: addr.port(),
            credentials: dir.to_owned(),
        }
    }

    #[tokio::test]
    async fn the_api_is_asked_over_tls_with_the_pods_token() {
        let dir = tempfile::tempdir().expect("a directory");
        let pod = api(200, r#"{"metadata": {}, "spec": {"replicas": 3}}"#, dir.path()).await;
        assert!(pod.is_surplus().await.expect("an answer"));
    }

    #[tokio::test]
    async fn a_pod_without_a_role_is_told_what_it_needs() {
        let dir = tempfile::tempdir().expect("a directory");
        let pod = api(403, "{}", dir.path()).await;
        let error = pod.is_surplus().await.expect_err("it is forbidden").to_string();
        assert!(error.contains("needs a role to get its StatefulSet"), "{error}");
    }

    #[tokio::test]
    async fn an_api_with_another_certificate_is_not_believed() {
        let (dir, other) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        let pod = api(200, r#"{"metadata": {}, "spec": {"replicas": 1}}"#, dir.path()).await;
        let _ = api(200, "{}", other.path()).await;
        let pod = Pod { credentials: other.path().to_owned(), ..pod };
        let error = pod.is_surplus().await.expect_err("the certificate is foreign").to_string();
        assert!(error.contains("TLS"), "{error}");
    }
}
