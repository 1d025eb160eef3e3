//! `mokv servers`, `status`, `leave` and `transfer-leadership`.

use std::collections::BTreeSet;
use std::io::Write;

use mokv_client::{Client, Server, Status};
use serde::Serialize;

use super::client::ClientArgs;
use super::exit::CliError;
use super::kubernetes::Pod;
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
    /// Leave only if this pod's StatefulSet was scaled down and will not start the pod again; for
    /// the preStop hook of a pod
    #[arg(long)]
    if_scaled_down: bool,
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
        print_servers(&mut printer, format, &servers)?;
        printer.finish()
    })
}

pub(crate) fn status(args: StatusArgs) -> Result<(), CliError> {
    let format = args.client.output.unwrap_or(Format::Table);
    let endpoints = args.client.endpoints.clone();
    args.client.run(|client| async move {
        let answers = ask_everyone(&client, endpoints).await?;
        let mut printer = Printer::stdout();
        print_status(&mut printer, format, &answers)?;
        printer.finish()?;
        judge_silence(&answers)
    })
}

pub(crate) fn leave(args: LeaveArgs) -> Result<(), CliError> {
    let [endpoint] = args.client.endpoints.as_slice() else {
        let problem = "name the one member that shall leave: --endpoints HOST:PORT";
        return Err(CliError::Usage(problem.to_owned()));
    };
    let pod = if args.if_scaled_down { Some(Pod::from_env()?) } else { None };
    args.client.run(|client| async move {
        if let Some(pod) = pod
            && !pod.is_surplus().await?
        {
            return print_line("not scaled down: this member stays one");
        }
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

/// An error when anyone was silent, so that scripts need not read the answer.
fn judge_silence(answers: &[Answer]) -> Result<(), CliError> {
    let total = answers.len();
    let silent: Vec<_> = answers.iter().filter_map(|(_, answer)| answer.as_ref().err()).collect();
    match silent.as_slice() {
        [] => Ok(()),
        [first, ..] if silent.len() == total => Err(CliError::Unreachable(format!(
            "no member answered ({first}); `mokv dev` starts a cluster on this machine"
        ))),
        [first, ..] => {
            let count = silent.len();
            Err(CliError::Failed(format!("{count} of {total} members did not answer ({first})")))
        }
    }
}

fn print_servers(
    printer: &mut Printer<impl Write>,
    format: Format,
    servers: &[Server],
) -> Result<(), CliError> {
    let row = |server: &Server| {
        let fields = [server.id.as_str(), &server.rpc_addr, role(server), &server.node_id];
        fields.map(|field| escape(field.as_bytes()).into_owned())
    };
    let header = ["NAME", "ADDRESS", "ROLE", "NODE ID"];
    match format {
        Format::Json => printer.json(&servers.iter().map(server_line).collect::<Vec<_>>()),
        Format::Table => printer.table(&header, servers.iter().map(row)),
        Format::Plain => print_plain(printer, servers.iter().map(row)),
    }
}

fn print_status(
    printer: &mut Printer<impl Write>,
    format: Format,
    answers: &[Answer],
) -> Result<(), CliError> {
    match format {
        Format::Json => printer.json(&answers.iter().map(status_line).collect::<Vec<_>>()),
        Format::Table => printer.table(&STATUS_HEADER, answers.iter().map(status_row)),
        Format::Plain => print_plain(printer, answers.iter().map(status_row)),
    }
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
    printer: &mut Printer<impl Write>,
    rows: impl Iterator<Item = [String; N]>,
) -> Result<(), CliError> {
    for row in rows {
        printer.line(format_args!("{}", row.join("\t")))?;
    }
    Ok(())
}

fn print_ok() -> Result<(), CliError> {
    print_line("OK")
}

fn print_line(line: &str) -> Result<(), CliError> {
    let mut printer = Printer::stdout();
    printer.line(format_args!("{line}"))?;
    printer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::printed;

    fn servers() -> [Server; 3] {
        let server = |id: &str, port, is_leader, is_voter| Server {
            id: id.to_owned(),
            rpc_addr: format!("127.0.0.1:{port}"),
            is_leader,
            node_id: "00000000000000a1".to_owned(),
            is_voter,
        };
        [
            server("node-1", 8400, false, true),
            server("node-2", 8410, true, true),
            server("node-3", 8420, false, false),
        ]
    }

    fn answers() -> [Answer; 2] {
        let status = Status {
            version: "0.1.0".to_owned(),
            name: "node-1".to_owned(),
            node_id: "a1".to_owned(),
            cluster_id: "c1".to_owned(),
            role: "candidate".to_owned(),
            term: 3,
            commit_index: 10,
            applied_index: 9,
            last_index: 12,
            snapshot_index: 4,
            revision: 8,
            keys: 5,
            ..Status::default()
        };
        let silent = mokv_client::Error::Unavailable { message: "it is down".to_owned() };
        [("a:1".to_owned(), Ok(status)), ("b:1".to_owned(), Err(silent))]
    }

    #[test]
    fn members_are_shown_with_their_roles() {
        assert_eq!(
            printed(|p| print_servers(p, Format::Table, &servers())),
            "NAME     ADDRESS          ROLE      NODE ID\n\
             node-1   127.0.0.1:8400   voter     00000000000000a1\n\
             node-2   127.0.0.1:8410   leader    00000000000000a1\n\
             node-3   127.0.0.1:8420   learner   00000000000000a1\n"
        );
        let json = printed(|p| print_servers(p, Format::Json, &servers()[1..2]));
        assert_eq!(
            json,
            "[{\"name\":\"node-2\",\"rpc_addr\":\"127.0.0.1:8410\",\"role\":\"leader\",\
             \"node_id\":\"00000000000000a1\"}]\n"
        );
    }

    #[test]
    fn a_silent_member_has_a_line_of_its_own() {
        assert_eq!(
            printed(|p| print_status(p, Format::Plain, &answers())),
            "a:1\tnode-1\tcandidate\t-\t3\t10\t9\t5\t0.1.0\n\
             b:1\t-\tunreachable\t-\t-\t-\t-\t-\t-\n"
        );
        assert_eq!(
            printed(|p| print_status(p, Format::Json, &answers())),
            "[{\"endpoint\":\"a:1\",\"error\":null,\"status\":{\"name\":\"node-1\",\"node_id\":\"a1\",\
             \"cluster_id\":\"c1\",\"role\":\"candidate\",\"leader\":\"\",\"term\":3,\"commit_index\":10,\
             \"applied_index\":9,\"last_index\":12,\"snapshot_index\":4,\"revision\":8,\"keys\":5,\
             \"version\":\"0.1.0\"}},{\"endpoint\":\"b:1\",\
             \"error\":\"unavailable, nothing was changed: it is down\",\"status\":null}]\n"
        );
    }

    #[test]
    fn scripts_learn_from_the_exit_code_how_many_were_silent() {
        use crate::cli::exit::Exit;
        let [one, other] = answers();
        assert!(judge_silence(std::slice::from_ref(&one)).is_ok());
        let some = judge_silence(&[one, other.clone()]).expect_err("one is silent");
        assert_eq!(Exit::from(&some), Exit::Failure);
        let all = judge_silence(&[other]).expect_err("all are silent");
        assert_eq!(Exit::from(&all), Exit::Unavailable);
    }
}
