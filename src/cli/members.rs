//! `mokv servers`, `status`, `leave` and `transfer-leadership`.

use std::collections::BTreeSet;

use mokv_client::{Client, Server, Status};
use serde::Serialize;

use super::client::ClientArgs;
use super::exit::CliError;
use super::output::{Format, Printer, escape};

const SERVERS_HELP: &str = "\
Output:
  table  NAME, ADDRESS, ROLE, NODE ID; the role is leader, voter or learner (the default)
  plain  the same without a header, with tabs between the fields
  json   a list of {\"name\", \"rpc_addr\", \"role\", \"node_id\"}";

/// Prints the members of the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = SERVERS_HELP)]
pub(crate) struct ServersArgs {
    #[command(flatten)]
    client: ClientArgs,
}

const STATUS_HELP: &str = "\
Asks every endpoint, and every member those know of.

Output:
  table  a line a member; one that does not answer says so (the default)
  plain  the same without a header, with tabs between the fields
  json   a list of {\"endpoint\", \"error\", \"status\"}, where either error or status is null; status
         has name, node_id, cluster_id, role, leader, term, commit_index, applied_index, last_index,
         snapshot_index, revision, keys and version

Exits with 1 when a member does not answer, and with 4 when none does.";

/// Prints what every member knows of itself.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_HELP)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    client: ClientArgs,
}

const LEAVE_HELP: &str = "\
The member is the one at --endpoints, which must be one address. It stops when its removal is \
committed. To stop it for a while, send it SIGTERM instead: a restart needs no leave.";

/// Removes one member from its cluster for good.
#[derive(Debug, clap::Args)]
#[command(after_help = LEAVE_HELP)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Hands leadership to another member.
#[derive(Debug, clap::Args)]
pub(crate) struct TransferLeadershipArgs {
    /// The name of the voter to lead next [default: the leader chooses]
    #[arg(default_value = "", hide_default_value = true)]
    name: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// A member in JSON.
#[derive(Serialize)]
struct ServerLine<'a> {
    name: &'a str,
    rpc_addr: &'a str,
    role: &'static str,
    node_id: &'a str,
}

/// One member's answer, or its silence, in JSON.
#[derive(Serialize)]
struct StatusLine<'a> {
    endpoint: &'a str,
    error: Option<String>,
    status: Option<StatusFields<'a>>,
}

#[derive(Serialize)]
struct StatusFields<'a> {
    name: &'a str,
    node_id: &'a str,
    cluster_id: &'a str,
    role: &'a str,
    leader: &'a str,
    term: u64,
    commit_index: u64,
    applied_index: u64,
    last_index: u64,
    snapshot_index: u64,
    revision: u64,
    keys: u64,
    version: &'a str,
}

/// An address and what came of asking it.
type Answer = (String, Result<Status, mokv_client::Error>);

pub(crate) fn servers(args: ServersArgs) -> Result<(), CliError> {
    let format = args.client.output.unwrap_or(Format::Table);
    args.client.run(|client| async move {
        let mut servers = client.servers().await?;
        servers.sort_by(|a, b| (&a.id, &a.node_id).cmp(&(&b.id, &b.node_id)));
        let mut printer = Printer::stdout();
        let header = ["NAME", "ADDRESS", "ROLE", "NODE ID"];
        let row = |server: &Server| {
            let fields = [server.id.as_str(), &server.rpc_addr, role(server), &server.node_id];
            fields.map(|field| escape(field.as_bytes()).into_owned())
        };
        match format {
            Format::Json => printer.json(&servers.iter().map(server_line).collect::<Vec<_>>())?,
            Format::Table => printer.table(&header, servers.iter().map(row))?,
            Format::Plain => print_plain(&mut printer, servers.iter().map(row))?,
        }
        printer.finish()
    })
}

pub(crate) fn status(args: StatusArgs) -> Result<(), CliError> {
    let format = args.client.output.unwrap_or(Format::Table);
    let endpoints = args.client.endpoints.clone();
    args.client.run(|client| async move {
        let answers = ask_everyone(&client, endpoints).await?;
        let mut printer = Printer::stdout();
        match format {
            Format::Json => printer.json(&answers.iter().map(status_line).collect::<Vec<_>>())?,
            Format::Table => printer.table(&STATUS_HEADER, answers.iter().map(status_row))?,
            Format::Plain => print_plain(&mut printer, answers.iter().map(status_row))?,
        }
        printer.finish()?;
        let silent = answers.iter().filter(|(_, answer)| answer.is_err()).count();
        if silent == 0 {
            return Ok(());
        }
        let message = format!("{silent} of {} members did not answer", answers.len());
        if silent == answers.len() {
            return Err(mokv_client::Error::DeadlineExceeded { message }.into());
        }
        Err(CliError::Failed(message))
    })
}

pub(crate) fn leave(args: LeaveArgs) -> Result<(), CliError> {
    let [endpoint] = args.client.endpoints.as_slice() else {
        let problem = "name the one member that shall leave: --endpoints HOST:PORT";
        return Err(CliError::Usage(problem.to_owned()));
    };
    args.client.run(|client| async move {
        client.leave(endpoint).await?;
        print_ok()
    })
}

pub(crate) fn transfer_leadership(args: TransferLeadershipArgs) -> Result<(), CliError> {
    args.client.run(|client| async move {
        client.transfer_leadership(&args.name).await?;
        print_ok()
    })
}

/// Asks all endpoints, and all members any of them knows, at the same time; sorted by address.
async fn ask_everyone(client: &Client, endpoints: Vec<String>) -> Result<Vec<Answer>, CliError> {
    let mut addrs: BTreeSet<String> = endpoints.into_iter().collect();
    match client.servers().await {
        Ok(servers) => addrs.extend(servers.into_iter().map(|server| server.rpc_addr)),
        // Then the endpoints are all we know, and the answer will show that they are silent.
        Err(
            mokv_client::Error::Unavailable { .. } | mokv_client::Error::DeadlineExceeded { .. },
        ) => {}
        Err(error) => return Err(error.into()),
    }
    let asked: Vec<_> = addrs
        .into_iter()
        .map(|addr| {
            let client = client.clone();
            tokio::spawn(async move {
                let answer = client.status(&addr).await;
                (addr, answer)
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(asked.len());
    for task in asked {
        answers.push(task.await.expect("asking for a status does not panic"));
    }
    Ok(answers)
}

fn role(server: &Server) -> &'static str {
    match (server.is_leader, server.is_voter) {
        (true, _) => "leader",
        (false, true) => "voter",
        (false, false) => "learner",
    }
}

fn server_line(server: &Server) -> ServerLine<'_> {
    ServerLine {
        name: &server.id,
        rpc_addr: &server.rpc_addr,
        role: role(server),
        node_id: &server.node_id,
    }
}

const STATUS_HEADER: [&str; 9] =
    ["ENDPOINT", "NAME", "ROLE", "LEADER", "TERM", "COMMIT", "APPLIED", "KEYS", "VERSION"];

fn status_row((endpoint, answer): &Answer) -> [String; 9] {
    let dash = || "-".to_owned();
    match answer {
        Ok(s) => [
            endpoint.clone(),
            escape(s.name.as_bytes()).into_owned(),
            escape(s.role.as_bytes()).into_owned(),
            if s.leader.is_empty() { dash() } else { escape(s.leader.as_bytes()).into_owned() },
            s.term.to_string(),
            s.commit_index.to_string(),
            s.applied_index.to_string(),
            s.keys.to_string(),
            escape(s.version.as_bytes()).into_owned(),
        ],
        Err(_) => {
            let mut row: [String; 9] = std::array::from_fn(|_| dash());
            row[0] = endpoint.clone();
            row[2] = "unreachable".to_owned();
            row
        }
    }
}

fn status_line((endpoint, answer): &Answer) -> StatusLine<'_> {
    match answer {
        Ok(s) => {
            let fields = StatusFields {
                name: &s.name,
                node_id: &s.node_id,
                cluster_id: &s.cluster_id,
                role: &s.role,
                leader: &s.leader,
                term: s.term,
                commit_index: s.commit_index,
                applied_index: s.applied_index,
                last_index: s.last_index,
                snapshot_index: s.snapshot_index,
                revision: s.revision,
                keys: s.keys,
                version: &s.version,
            };
            StatusLine { endpoint, error: None, status: Some(fields) }
        }
        Err(error) => StatusLine { endpoint, error: Some(error.to_string()), status: None },
    }
}

fn print_plain<const N: usize>(
    printer: &mut Printer,
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), CliError> {
    for row in rows {
        printer.line(format_args!("{}", row.join("\t")))?;
    }
    Ok(())
}

fn print_ok() -> Result<(), CliError> {
    let mut printer = Printer::stdout();
    printer.line(format_args!("OK"))?;
    printer.finish()
}
