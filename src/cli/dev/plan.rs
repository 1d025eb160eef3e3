//! Who is who in a dev cluster: names, ports and directories, and the command line of each server.
//!
//! ```text
//!            clients      peers, gossip   metrics
//!   node-1   base         base + 1        metrics base
//!   node-2   base + 10    base + 11       metrics base + 10
//!   node-3   ...
//! ```
//!
//! With the default bases, node-1 has the default ports, so that `mokv get` finds it unasked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::server::Settings;

/// The distance between the ports of two nodes.
const PORT_STEP: u16 = 10;

/// One server of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodePlan {
    /// What it shall be told.
    pub(crate) settings: Settings,
    /// Where its output goes.
    pub(crate) log_path: PathBuf,
}

impl NodePlan {
    /// The arguments of the server's process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let settings = &self.settings;
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--data-dir".into()];
        arguments.push(settings.data_dir.clone().into());
        for (flag, value) in [
            ("--node-name", settings.node_name.clone()),
            ("--bind-addr", settings.bind_addr.clone()),
            ("--rpc-port", settings.rpc_port.to_string()),
            ("--metrics-port", settings.metrics_port.to_string()),
            ("--start-join-addrs", settings.start_join_addrs.join(",")),
            ("--shards", settings.shards.to_string()),
            ("--log-level", settings.log_level.to_string()),
        ] {
            arguments.extend([flag.into(), value.into()]);
        }
        arguments.push(format!("--bootstrap={}", settings.bootstrap).into());
        arguments
    }
}

/// Plans `nodes` servers on 127.0.0.1. The first may make the cluster, if no other knows one; all
/// join through all others, so that any of them may be missing at the start.
///
/// # Errors
/// When the ports collide or run out; the text says so.
pub(crate) fn plan(
    nodes: u16,
    data_dir: &Path,
    base_port: u16,
    metrics_base_port: u16,
) -> Result<Vec<NodePlan>, String> {
    let highest = (nodes - 1) * PORT_STEP + 1;
    for base in [base_port, metrics_base_port] {
        if base.checked_add(highest).is_none() {
            return Err(format!("the ports of {nodes} nodes from {base} on go beyond 65535"));
        }
    }
    let gossip_addr = |node: u16| format!("127.0.0.1:{}", base_port + 1 + node * PORT_STEP);
    let plans: Vec<NodePlan> = (0..nodes)
        .map(|node| {
            let node_name = format!("node-{}", node + 1);
            let log_path = data_dir.join(format!("{node_name}.log"));
            let others = (0..nodes).filter(|other| *other != node);
            let settings = Settings {
                data_dir: data_dir.join(&node_name),
                node_name,
                bind_addr: gossip_addr(node),
                rpc_port: base_port + node * PORT_STEP,
                metrics_port: metrics_base_port + node * PORT_STEP,
                start_join_addrs: others.map(gossip_addr).collect(),
                bootstrap: node == 0,
                ..Settings::default()
            };
            NodePlan { settings, log_path }
        })
        .collect();
    refuse_collisions(&plans)?;
    Ok(plans)
}

fn refuse_collisions(plans: &[NodePlan]) -> Result<(), String> {
    let mut ports: Vec<u16> = plans
        .iter()
        .map(|plan| &plan.settings)
        .flat_map(|s| [s.rpc_port, s.bind_port(), s.metrics_port])
        .collect();
    ports.sort_unstable();
    match ports.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!(
            "port {} would be used twice; choose another --base-port or --metrics-base-port",
            pair[0]
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_node_has_the_default_ports_and_alone_may_make_a_cluster() {
        let plans = plan(3, Path::new("/d"), 8400, 4000).expect("no collision");
        let first = &plans[0].settings;
        let default = Settings::default();
        assert_eq!(first.bind_addr, default.bind_addr);
        assert_eq!(first.rpc_port, default.rpc_port);
        assert_eq!(first.metrics_port, default.metrics_port);
        assert_eq!(plans.iter().filter(|plan| plan.settings.bootstrap).count(), 1);
        assert!(first.bootstrap);
        assert_eq!(first.start_join_addrs, ["127.0.0.1:8411", "127.0.0.1:8421"]);
        assert_eq!(plans[2].settings.rpc_addr(), "127.0.0.1:8420");
        for plan in &plans {
            assert_eq!(plan.settings.validate(), Ok(()));
        }
    }

    #[test]
    fn a_server_reads_its_plan_back_from_its_command_line() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(subcommand)]
            command: Serve,
        }
        #[derive(clap::Subcommand)]
        enum Serve {
            Serve(crate::cli::config::ServeArgs),
        }
        for plan in plan(3, Path::new("/d"), 8400, 4000).expect("no collision") {
            let words = std::iter::once("mokv".into()).chain(plan.arguments());
            let line = <Line as clap::Parser>::try_parse_from(words).expect("valid flags");
            let Serve::Serve(args) = line.command;
            let settings = crate::cli::config::resolve_with(&args, &|_| None).expect("valid");
            assert_eq!(settings, plan.settings);
        }
    }

    #[test]
    fn ports_that_run_out_or_meet_are_refused() {
        assert!(plan(3, Path::new("/d"), 65520, 4000).expect_err("too high").contains("65535"));
        let twice = plan(3, Path::new("/d"), 8400, 8410).expect_err("both want 8410");
        assert!(twice.contains("port 8410 would be used twice"), "{twice}");
    }
}
