//! Runs the golden scripts: one behaviour of a few nodes on a deterministic network in each.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use goldenscript::{ArgumentConsumer, Command, Context};
use test_each_file::test_each_path;

use crate::types::{ClusterId, NodeId};

use super::config::{Config, Identity};
use super::member::{Claim, Metadata, Verdict};
use super::message::{Body, Sender};
use super::testing::{Net, Shown, addr, identity, label};
use super::wire::Writer;

test_each_path! { in "src/gossip/testscripts" => run_script }

fn run_script(path: &Path) {
    let mut runner = Runner { net: Net::new(1), settings: BTreeMap::new() };
    goldenscript::run(&mut runner, path).expect("the script runs");
}

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Runner {
    net: Net,
    /// For the nodes that start from now on.
    settings: BTreeMap<String, u64>,
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "members" | "member" | "count" | "refused" => self.show(&command.name, &mut args)?,
            // run MS: lets time pass and shows what happens in it.
            "run" => self.net.run(number(&mut args)?),
            other => {
                self.act(other, &mut args)?;
                String::new()
            }
        };
        args.reject_next()?;
        Ok(output)
    }
}

impl Runner {
    /// Commands that show what a node knows.
    fn show(&self, command: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<String> {
        let id = node(args)?;
        let gossip = self.net.gossip(id);
        Ok(match command {
            // members NODE: its table.
            "members" => {
                let lines = gossip.members().map(|member| format!("    {}\n", Shown(member)));
                format!("{} knows:\n{}", label(id), lines.collect::<String>())
            }
            // member NODE OF: what it knows of one.
            "member" => match gossip.member(node(args)?) {
                Some(member) => Shown(member).to_string(),
                None => "unknown".to_owned(),
            },
            // count NODE: how many members it knows.
            "count" => gossip.members().count().to_string(),
            // refused NODE: how many claims it has left out.
            "refused" => gossip.refused_claims().to_string(),
            other => return Err(format!("unknown command {other}").into()),
        })
    }

    /// Commands that do something to a node or to the network.
    fn act(&mut self, command: &str, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        match command {
            // set packet_bytes=900 ...: settings of the nodes that start from now on.
            "set" => {
                while let Some((key, value)) = args.next_key() {
                    self.settings.insert(key.to_owned(), value.parse()?);
                }
            }
            // start NODE... [join=NODE] [cluster=N] [name=NAME] [host=N] [incarnation=N]
            "start" => self.start(args)?,
            // crash NODE: it stops without a word.
            "crash" => self.net.crash(node(args)?),
            // stall NODE MS: it gets no CPU for so long.
            "stall" => {
                let id = node(args)?;
                self.net.stall(id, self.net.now_ms + number(args)?);
            }
            // cut A B: nothing from A reaches B.
            "cut" => self.net.cut(node(args)?, node(args)?),
            // part A B: nothing passes between A and B.
            "part" => {
                let (one, other) = (node(args)?, node(args)?);
                self.net.cut(one, other);
                self.net.cut(other, one);
            }
            // heal: everything passes again.
            "heal" => self.net.heal(),
            // loss PERCENT: so many datagrams are lost from now on.
            "loss" => self.net.loss_percent = number(args)?,
            // trace on|off: whether datagrams are shown.
            "trace" => self.net.is_tracing = args.next_pos() == Some("on"),
            // join NODE SEED
            "join" => {
                let (id, seed) = (node(args)?, addr(node(args)?.0));
                self.net.call(id, |gossip, now_ms| gossip.join(&[seed], now_ms));
            }
            // adopt NODE CLUSTER: the node has become a member of that cluster.
            "adopt" => {
                let (id, cluster) = (node(args)?, ClusterId(number(args)?));
                self.net.call(id, |gossip, _| gossip.set_cluster(cluster));
            }
            // leave NODE: it leaves for good, and goes on running.
            "leave" => self.net.call(node(args)?, |gossip, now_ms| gossip.leave(now_ms)),
            // tell NODE SUBJECT STATE INCARNATION [cluster=N]: a packet out of the blue.
            "tell" => self.tell(args)?,
            // flood NODE COUNT: it hears of that many strangers at once.
            "flood" => self.flood(args)?,
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(())
    }

    fn start(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let seed = args.take_key("join").map(parse_node).transpose()?;
        let cluster = args.take_key("cluster").map(str::parse).transpose()?.map(ClusterId);
        let name = args.take_key("name");
        let host = args.take_key("host").map(str::parse).transpose()?;
        let incarnation = args.take_key("incarnation").map(str::parse).transpose()?;
        while let Some(id) = args.next_pos() {
            let id = parse_node(id)?;
            let usual = identity(id.0);
            let identity = Identity {
                cluster,
                addr: host.map_or(usual.addr, addr),
                name: name.map_or(usual.name, str::to_owned),
                incarnation: incarnation.unwrap_or(self.net.now_ms),
                ..usual
            };
            self.net.start(self.config(identity)?);
            if let Some(seed) = seed {
                let seed = addr(seed.0);
                self.net.call(id, |gossip, now_ms| gossip.join(&[seed], now_ms));
            }
        }
        Ok(())
    }

    fn config(&self, identity: Identity) -> Outcome<Config> {
        let seed = identity.id.0;
        let mut config = Config::lan(identity, seed);
        for (key, value) in &self.settings {
            match key.as_str() {
                "packet_bytes" => config.packet_bytes = *value as usize,
                "forget_after_ms" => config.forget_after_ms = *value,
                "push_pull_interval_ms" => config.push_pull_interval_ms = *value,
                "gossip_fanout" => config.gossip_fanout = *value as usize,
                "transmit_multiplier" => config.transmit_multiplier = *value as u32,
                other => return Err(format!("unknown setting {other}").into()),
            }
        }
        Ok(config)
    }

    fn tell(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let (listener, subject) = (node(args)?, node(args)?);
        let verdict = match args.next_pos().ok_or("no state given")? {
            "alive" => Verdict::Alive,
            "suspect" => Verdict::Suspect { accusers: [NodeId(99)].into() },
            "dead" => Verdict::Dead { forget_in_ms: 60_000 },
            "left" => Verdict::Left { forget_in_ms: 60_000 },
            other => return Err(format!("unknown state {other}").into()),
        };
        let incarnation = number(args)?;
        let cluster = args.take_key("cluster").map(str::parse).transpose()?.map(ClusterId);
        let claim = claim(subject, incarnation, verdict, cluster);
        self.inject(listener, &[claim]);
        Ok(())
    }

    fn flood(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let (listener, count) = (node(args)?, number(args)?);
        let claims = (1001..=1000 + count).map(|id| claim(NodeId(id), 0, Verdict::Alive, None));
        for claims in claims.collect::<Vec<_>>().chunks(10) {
            self.inject(listener, claims);
        }
        Ok(())
    }

    fn inject(&mut self, listener: NodeId, claims: &[Claim]) {
        let sender = Sender { id: NodeId(99), cluster: None };
        let mut writer = Writer::packet(sender, Body::Gossip, 1400);
        for claim in claims {
            assert!(writer.push(claim), "it fits");
        }
        self.net.inject(listener, &writer.finish());
    }
}

fn claim(id: NodeId, incarnation: u64, verdict: Verdict, cluster: Option<ClusterId>) -> Claim {
    let Identity { name, addr, peer_addr, rpc_addr, .. } = identity(id.0);
    Claim {
        id,
        incarnation,
        verdict,
        metadata: Metadata { name, cluster, addr, peer_addr, rpc_addr },
    }
}

fn node(args: &mut ArgumentConsumer<'_>) -> Outcome<NodeId> {
    parse_node(args.next_pos().ok_or("no node given")?)
}

fn parse_node(text: &str) -> Outcome<NodeId> {
    match text.as_bytes() {
        [letter @ b'a'..=b'z'] => Ok(NodeId(u64::from(letter - b'a' + 1))),
        _ => Err(format!("{text} is no node: they are called a to z").into()),
    }
}

fn number(args: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    Ok(args.next_pos().ok_or("no number given")?.parse()?)
}
