//! Where a server's settings come from.
//!
//! ```text
//!   flag  >  MOKV_* environment  >  YAML file  >  default
//! ```
//!
//! All three sources speak the same language: a key of [`KEYS`] and a text. So a value means the
//! same and fails the same way wherever it was written, and an error names the place to mend. The
//! keys of the file are the flags' names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_norway::Value;

use super::exit::CliError;
use crate::server::{LogFormat, Settings};

/// The longest config file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How many edits may lie between an unknown key and the one that is suggested for it.
const MAX_TYPO_EDITS: usize = 3;
const ENV_PREFIX: &str = "MOKV_";
const CONFIG_FILE_ENV: &str = "MOKV_CONFIG_FILE";

/// The flags of a server. All are optional here: what is left out, another source may say.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Server options")]
pub(crate) struct ServeArgs {
    /// Read options from this YAML file; its keys are the names of these flags
    /// [env: MOKV_CONFIG_FILE]
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Keep the log, snapshots and identity here [env: MOKV_DATA_DIR]
    /// [default: "mokv" in the temporary directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Name this node [env: MOKV_NODE_NAME] [default: the host name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Gossip (UDP) and peers (TCP); the host is what other members dial [env: MOKV_BIND_ADDR]
    /// [default: 127.0.0.1:8401]
    #[arg(long, value_name = "HOST:PORT")]
    bind_addr: Option<String>,
    /// Port for clients [env: MOKV_RPC_PORT] [default: 8400]
    #[arg(long, value_name = "PORT")]
    rpc_port: Option<String>,
    /// Join through these members, comma separated or repeated [env: MOKV_START_JOIN_ADDRS]
    #[arg(long, value_name = "HOST:PORT")]
    start_join_addrs: Vec<String>,
    /// Listen on this address [env: MOKV_LISTEN_IP] [default: the address of --bind-addr's host]
    #[arg(long, value_name = "IP")]
    listen_ip: Option<String>,
    /// Make a new cluster unless a member to join or the data directory knows one
    /// [env: MOKV_BOOTSTRAP] [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    bootstrap: Option<String>,
    /// Make a new cluster together with others, once so many servers with this flag know each other
    /// [env: MOKV_BOOTSTRAP_EXPECT] [default: 0, never]
    #[arg(long, value_name = "N")]
    bootstrap_expect: Option<String>,
    /// Remove a member that is dead for this long, in milliseconds; 0 is never
    /// [env: MOKV_DEAD_SERVER_TIMEOUT_MS] [default: 600000]
    #[arg(long, value_name = "MS")]
    dead_server_timeout_ms: Option<String>,
    /// Do not remove the dead from among so few voters [env: MOKV_MIN_VOTERS] [default: 3]
    #[arg(long, value_name = "N")]
    min_voters: Option<String>,
    /// Port for metrics over HTTP [env: MOKV_METRICS_PORT] [default: 4000]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<String>,
    /// Executors that share the keys; 0 is one a core [env: MOKV_SHARDS] [default: 1]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// error, warn, info, debug or trace [env: MOKV_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [env: MOKV_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Wait this long for clients when stopping, in milliseconds [env: MOKV_DRAIN_TIMEOUT_MS]
    /// [default: 10000]
    #[arg(long, value_name = "MS")]
    drain_timeout_ms: Option<String>,
}

/// One setting: its name and how its text becomes a value, or a complaint about it.
struct Key {
    name: &'static str,
    apply: fn(&mut Settings, &str) -> Result<(), String>,
}

const KEYS: [Key; 15] = [
    Key { name: "data-dir", apply: |s, text| parsed(&mut s.data_dir, Ok(text.into())) },
    Key { name: "node-name", apply: |s, text| parsed(&mut s.node_name, Ok(text.into())) },
    Key { name: "bind-addr", apply: |s, text| parsed(&mut s.bind_addr, Ok(text.into())) },
    Key { name: "rpc-port", apply: |s, text| parsed(&mut s.rpc_port, port(text)) },
    Key {
        name: START_JOIN_ADDRS,
        apply: |s, text| parsed(&mut s.start_join_addrs, Ok(split_list(text))),
    },
    Key { name: "listen-ip", apply: |s, text| parsed(&mut s.listen_ip, ip(text).map(Some)) },
    Key { name: "bootstrap", apply: |s, text| parsed(&mut s.bootstrap, boolean(text)) },
    Key { name: "bootstrap-expect", apply: |s, text| parsed(&mut s.bootstrap_expect, count(text)) },
    Key {
        name: "dead-server-timeout-ms",
        apply: |s, text| parsed(&mut s.dead_server_timeout_ms, count(text)),
    },
    Key { name: "min-voters", apply: |s, text| parsed(&mut s.min_voters, count(text)) },
    Key { name: "metrics-port", apply: |s, text| parsed(&mut s.metrics_port, port(text)) },
    Key { name: "shards", apply: |s, text| parsed(&mut s.shards, count(text)) },
    Key { name: "log-level", apply: |s, text| parsed(&mut s.log_level, log_level(text)) },
    Key { name: "log-format", apply: |s, text| parsed(&mut s.log_format, log_format(text)) },
    Key { name: "drain-timeout-ms", apply: |s, text| parsed(&mut s.drain_timeout_ms, count(text)) },
];

/// The one key that takes a list.
const START_JOIN_ADDRS: &str = "start-join-addrs";

/// What one source says of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    /// The value; the items of a list are separated by commas, which no address contains.
    text: String,
    /// The place to mend: `--rpc-port`, `MOKV_RPC_PORT`, `mokv.yaml: rpc-port`.
    origin: String,
}

type Layer = BTreeMap<&'static str, Given>;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}; give --config-file a file that can be read")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML, or not a list of keys and values.
    #[error("{path}: {problem}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// The file has a key that means nothing.
    #[error("{path}: unknown key {key}; {hint}")]
    UnknownKey {
        /// The file.
        path: String,
        /// The key as written.
        key: String,
        /// The closest known key, or all of them.
        hint: String,
    },
    /// A value cannot be used.
    #[error("{origin}: {problem}")]
    BadValue {
        /// The place to mend.
        origin: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::Usage(error.to_string())
    }
}

/// The settings out of the flags, this process's environment, and the file either of them names.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn resolve(args: &ServeArgs) -> Result<Settings, ConfigError> {
    resolve_with(args, &|name| std::env::var_os(name))
}

/// The names of all variables a server reads from its environment.
pub(crate) fn env_names() -> impl Iterator<Item = String> {
    KEYS.iter().map(|key| env_name(key.name)).chain([CONFIG_FILE_ENV.to_owned()])
}

pub(crate) fn resolve_with(
    args: &ServeArgs,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Settings, ConfigError> {
    let env = |name: &str| env(name).filter(|text| !text.is_empty());
    let file = args.config_file.clone().or_else(|| env(CONFIG_FILE_ENV).map(PathBuf::from));
    let mut merged = match file {
        Some(path) => file_layer(&path)?,
        None => Layer::new(),
    };
    merged.extend(env_layer(&env)?);
    merged.extend(flag_layer(args));
    let mut settings = Settings::default();
    for key in &KEYS {
        if let Some(Given { text, origin }) = merged.get(key.name) {
            (key.apply)(&mut settings, text.trim())
                .map_err(|problem| ConfigError::BadValue { origin: origin.clone(), problem })?;
        }
    }
    settings.validate().map_err(|error| {
        let by_default = || format!("--{} (not given, this is its default)", error.key);
        let origin = merged.get(error.key).map_or_else(by_default, |given| given.origin.clone());
        ConfigError::BadValue { origin, problem: error.problem }
    })?;
    Ok(settings)
}

fn flag_layer(args: &ServeArgs) -> Layer {
    // Names every field, so that a new flag cannot be forgotten here.
    let ServeArgs {
        config_file: _,
        data_dir,
        node_name,
        bind_addr,
        rpc_port,
        start_join_addrs,
        listen_ip,
        bootstrap,
        bootstrap_expect,
        dead_server_timeout_ms,
        min_voters,
        metrics_port,
        shards,
        log_level,
        log_format,
        drain_timeout_ms,
    } = args.clone();
    let joined = (!start_join_addrs.is_empty()).then(|| start_join_addrs.join(","));
    [
        ("data-dir", data_dir),
        ("node-name", node_name),
        ("bind-addr", bind_addr),
        ("rpc-port", rpc_port),
        (START_JOIN_ADDRS, joined),
        ("listen-ip", listen_ip),
        ("bootstrap", bootstrap),
        ("bootstrap-expect", bootstrap_expect),
        ("dead-server-timeout-ms", dead_server_timeout_ms),
        ("min-voters", min_voters),
        ("metrics-port", metrics_port),
        ("shards", shards),
        ("log-level", log_level),
        ("log-format", log_format),
        ("drain-timeout-ms", drain_timeout_ms),
    ]
    .into_iter()
    .filter_map(|(name, text)| Some((name, Given { text: text?, origin: format!("--{name}") })))
    .collect()
}

fn env_layer(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new();
    for key in &KEYS {
        let origin = env_name(key.name);
        match env(&origin).map(OsString::into_string) {
            None => {}
            Some(Ok(text)) if is_service_link(&text) => {}
            Some(Ok(text)) => drop(layer.insert(key.name, Given { text, origin })),
            Some(Err(bytes)) => {
                let problem = format!("{bytes:?} is not UTF-8");
                return Err(ConfigError::BadValue { origin, problem });
            }
        }
    }
    Ok(layer)
}

/// Kubernetes puts `MOKV_RPC_PORT=tcp://10.0.0.1:8400` into the environment of every pod beside a
/// service named `mokv-rpc`. Nobody meant that for us.
fn is_service_link(text: &str) -> bool {
    text.starts_with("tcp://") || text.starts_with("udp://")
}

fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('-', "_").to_ascii_uppercase())
}

fn file_layer(path: &Path) -> Result<Layer, ConfigError> {
    let shown = path.display().to_string();
    let text = read_bounded(path)
        .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
    let malformed = |problem: String| ConfigError::Malformed { path: shown.clone(), problem };
    let document: Value =
        serde_norway::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let mapping = match document {
        Value::Null => return Ok(Layer::new()), // an empty file
        Value::Mapping(mapping) => mapping,
        other => {
            return Err(malformed(format!("expected `key: value` lines, found {}", kind(&other))));
        }
    };
    let mut layer = Layer::new();
    for (key, value) in &mapping {
        let Some(key) = key.as_str() else {
            return Err(malformed(format!("a key is {}, not a name", kind(key))));
        };
        let Some(known) = KEYS.iter().find(|known| known.name == key) else {
            let (path, key, hint) = (shown.clone(), key.to_owned(), closest(key));
            return Err(ConfigError::UnknownKey { path, key, hint });
        };
        let origin = format!("{shown}: {key}");
        match text_of(known.name, value) {
            Ok(Some(text)) => drop(layer.insert(known.name, Given { text, origin })),
            Ok(None) => {} // `key:` with nothing after it says nothing
            Err(problem) => return Err(ConfigError::BadValue { origin, problem }),
        }
    }
    Ok(layer)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("the file is longer than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

/// A YAML value as the text a flag would carry, `None` for nothing.
fn text_of(key: &str, value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Sequence(items) if key == START_JOIN_ADDRS => {
            let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
            let texts = texts.ok_or("an item of the list is not an address, host:port")?;
            Ok(Some(texts.join(",")))
        }
        value => match scalar(value) {
            Some(text) => Ok(Some(text)),
            None => Err(format!("expected one value, found {}", kind(value))),
        },
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "keys of its own",
        Value::Tagged(_) => "a tagged value",
    }
}

fn closest(key: &str) -> String {
    let folded = key.to_lowercase().replace('_', "-");
    let edits = |known: &Key| strsim::damerau_levenshtein(&folded, known.name);
    match KEYS.iter().min_by_key(|known| edits(known)) {
        Some(known) if edits(known) <= MAX_TYPO_EDITS => format!("did you mean {}?", known.name),
        Some(_) | None => {
            let names: Vec<&str> = KEYS.iter().map(|known| known.name).collect();
            format!("the keys are {}", names.join(", "))
        }
    }
}

fn parsed<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port; give a number from 1 to 65535"))
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address, such as 0.0.0.0"))
}

fn count<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number from 0"))
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

fn split_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn log_level(text: &str) -> Result<tracing::Level, String> {
    match text.to_ascii_lowercase().as_str() {
        "error" => Ok(tracing::Level::ERROR),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(format!("{text:?} is not a level; give error, warn, info, debug or trace")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not a format; give text or json")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The settings from a file's text, some variables and a command line.
    fn settle(yaml: &str, env: &[(&str, &str)], line: &str) -> Result<Settings, String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            serve: ServeArgs,
        }
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(yaml.as_bytes()).expect("it can be written");
        let words = std::iter::once("mokv").chain(line.split_whitespace());
        let mut args = <Line as clap::Parser>::try_parse_from(words).expect(line).serve;
        args.config_file = Some(file.path().to_owned());
        let lookup = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let shown = file.path().display().to_string();
        resolve_with(&args, &lookup).map_err(|error| error.to_string().replace(&shown, "x.yaml"))
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let file = "rpc-port: 1001\nnode-name: file";
        let env: &[_] = &[("MOKV_RPC_PORT", "1002"), ("MOKV_NODE_NAME", "env")];
        let flag = "--rpc-port 1003 --node-name flag";
        // file, environment, flag -> the port and the name that win
        let table = [
            ("", &[][..], "", 8400, None),
            (file, &[], "", 1001, Some("file")),
            (file, env, "", 1002, Some("env")),
            (file, env, flag, 1003, Some("flag")),
            (file, &[], flag, 1003, Some("flag")),
            ("", env, flag, 1003, Some("flag")),
            ("", env, "", 1002, Some("env")),
            ("", &[], flag, 1003, Some("flag")),
        ];
        for (yaml, env, line, rpc_port, node_name) in table {
            let settings = settle(yaml, env, line).expect("valid");
            let default_name = Settings::default().node_name;
            assert_eq!(settings.rpc_port, rpc_port);
            assert_eq!(settings.node_name, node_name.unwrap_or(&default_name));
        }
    }

    #[test]
    fn every_key_means_the_same_in_all_three_sources() {
        let values = [
            ("data-dir", "/d"),
            ("node-name", "n"),
            ("bind-addr", "10.0.0.1:9401"),
            ("rpc-port", "9400"),
            ("start-join-addrs", "a:1,b:2"),
            ("listen-ip", "0.0.0.0"),
            ("bootstrap", "false"), // the next one means more; it has a test of its own
            ("bootstrap-expect", "5"),
            ("dead-server-timeout-ms", "7000"),
            ("min-voters", "2"),
            ("metrics-port", "9000"),
            ("shards", "0"),
            ("log-level", "DEBUG"),
            ("log-format", "json"),
            ("drain-timeout-ms", "250"),
        ];
        assert_eq!(values.map(|(key, _)| key), KEYS.map(|key| key.name), "a key has no test");
        let yaml: String = values.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let line: String = values.iter().map(|(key, value)| format!(" --{key}={value}")).collect();
        let names: Vec<String> = values.iter().map(|(key, _)| env_name(key)).collect();
        let env: Vec<(&str, &str)> =
            names.iter().zip(&values).map(|(name, (_, value))| (name.as_str(), *value)).collect();
        let expected = Settings {
            data_dir: "/d".into(),
            node_name: "n".to_owned(),
            bind_addr: "10.0.0.1:9401".to_owned(),
            rpc_port: 9400,
            start_join_addrs: vec!["a:1".to_owned(), "b:2".to_owned()],
            listen_ip: Some(IpAddr::from([0, 0, 0, 0])),
            bootstrap: false,
            bootstrap_expect: 5,
            dead_server_timeout_ms: 7_000,
            min_voters: 2,
            metrics_port: 9000,
            shards: 0,
            log_level: tracing::Level::DEBUG,
            log_format: LogFormat::Json,
            drain_timeout_ms: 250,
        };
        assert_eq!(settle(&yaml, &[], ""), Ok(expected.clone()));
        assert_eq!(settle("", &env, ""), Ok(expected.clone()));
        assert_eq!(settle("", &[], &line), Ok(expected));
    }

    #[test]
    fn addresses_to_join_may_be_a_list_or_one_text() {
        for (yaml, line) in [
            ("start-join-addrs: [\"a:1\", \"b:2\"]", ""),
            ("start-join-addrs:\n  - a:1\n  - b:2", ""),
            ("start-join-addrs: a:1, b:2", ""),
            ("", "--start-join-addrs a:1 --start-join-addrs b:2"),
            ("", "--start-join-addrs a:1,b:2"),
        ] {
            let settings = settle(yaml, &[], line).expect("valid");
            assert_eq!(settings.start_join_addrs, ["a:1", "b:2"], "{yaml} {line}");
        }
        let one = settle("start-join-addrs: a:1", &[], "").expect("valid");
        assert_eq!(one.start_join_addrs, ["a:1"]);
    }

    #[test]
    fn bootstrap_may_be_said_alone_and_taken_back() {
        assert!(settle("", &[], "--bootstrap").expect("valid").bootstrap);
        assert!(!settle("bootstrap: true", &[], "--bootstrap=false").expect("valid").bootstrap);
        assert!(settle("bootstrap: true", &[("MOKV_BOOTSTRAP", "")], "").expect("valid").bootstrap);
    }

    #[test]
    fn what_kubernetes_puts_into_the_environment_is_not_taken_for_ours() {
        let links = [("MOKV_RPC_PORT", "tcp://10.0.0.1:8400"), ("MOKV_SERVICE_HOST", "10.0.0.1")];
        assert_eq!(settle("", &links, "").expect("valid").rpc_port, 8400);
    }

    #[test]
    fn an_error_names_the_place_and_what_would_be_right() {
        let golden = [
            ("rpc_port: 1", "", "x.yaml: unknown key rpc_port; did you mean rpc-port?"),
            ("bootstap: true", "", "x.yaml: unknown key bootstap; did you mean bootstrap?"),
            (
                "zebra: 1",
                "",
                "x.yaml: unknown key zebra; the keys are data-dir, node-name, bind-addr, rpc-port, \
                 start-join-addrs, listen-ip, bootstrap, bootstrap-expect, dead-server-timeout-ms, \
                 min-voters, metrics-port, shards, log-level, log-format, drain-timeout-ms",
            ),
            (
                "rpc-port: many",
                "",
                "x.yaml: rpc-port: \"many\" is not a port; give a number from 1 to 65535",
            ),
            (
                "rpc-port: 70000",
                "",
                "x.yaml: rpc-port: \"70000\" is not a port; give a number from 1 to 65535",
            ),
            ("rpc-port: [1, 2]", "", "x.yaml: rpc-port: expected one value, found a list"),
            ("data-dir: {a: b}", "", "x.yaml: data-dir: expected one value, found keys of its own"),
            ("bootstrap: yes", "", "x.yaml: bootstrap: \"yes\" is neither true nor false"),
            (
                "start-join-addrs: [[a]]",
                "",
                "x.yaml: start-join-addrs: an item of the list is not an address, host:port",
            ),
            (
                "bind-addr: localhost",
                "",
                "x.yaml: bind-addr: \"localhost\" is not host:port, such as 127.0.0.1:8401 or \
                 node-1.kv:8401",
            ),
            (
                "listen-ip: here",
                "",
                "x.yaml: listen-ip: \"here\" is not an IP address, such as 0.0.0.0",
            ),
            (
                "",
                "--bootstrap --bootstrap-expect 3",
                "--bootstrap-expect: it says the same as bootstrap, for many servers; give one of \
                 the two",
            ),
            ("", "--shards x", "--shards: \"x\" is not a whole number from 0"),
            (
                "",
                "--log-level loud",
                "--log-level: \"loud\" is not a level; give error, warn, info, debug or trace",
            ),
            (
                "",
                "--rpc-port 4000",
                "--metrics-port (not given, this is its default): 4000 is also the rpc-port; \
                 choose another",
            ),
            ("- a\n- b", "", "x.yaml: expected `key: value` lines, found a list"),
            ("1: 2", "", "x.yaml: a key is a number, not a name"),
        ];
        for (yaml, line, message) in golden {
            assert_eq!(settle(yaml, &[], line), Err(message.to_owned()), "{yaml} {line}");
        }
    }

    #[test]
    fn broken_yaml_is_told_with_its_line() {
        let error = settle("data-dir: d\n  rpc-port: [", &[], "").expect_err("not YAML");
        assert!(error.starts_with("x.yaml: ") && error.contains("line 2"), "{error}");
        let twice = settle("rpc-port: 1\nrpc-port: 2", &[], "").expect_err("said twice");
        assert!(twice.contains("duplicate") && twice.contains("rpc-port"), "{twice}");
    }

    #[test]
    fn a_variable_that_is_no_text_is_told_instead_of_passed_over() {
        use std::os::unix::ffi::OsStringExt;
        let lookup = |name: &str| (name == "MOKV_DATA_DIR").then(|| OsString::from_vec(vec![0xff]));
        let error = resolve_with(&ServeArgs::default(), &lookup).expect_err("not UTF-8");
        assert_eq!(error.to_string(), "MOKV_DATA_DIR: \"\\xFF\" is not UTF-8");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let args = ServeArgs { config_file: Some("no/such.yaml".into()), ..ServeArgs::default() };
        let error = resolve_with(&args, &|_| None).expect_err("no such file").to_string();
        assert!(error.starts_with("no/such.yaml: No such file"), "{error}");
    }
}
