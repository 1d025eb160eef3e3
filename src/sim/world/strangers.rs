//! What the member of another cluster sends, on its way to the servers of this one.

use std::net::SocketAddr;

use super::{Event, World};
use crate::sim::host::Host;
use crate::sim::server::{Input, Origin};
use crate::sim::stranger::{Sent, Stranger};

impl World {
    pub(super) fn stranger_acts(&mut self) {
        // Before there is a cluster, hearing of another keeps servers from making one, and rightly.
        let is_met = |host: &&Host| self.watch.has_cluster() && host.server().is_some();
        let met = self.hosts.iter().filter(is_met);
        let hosts: Vec<SocketAddr> = met.map(Host::addr).collect();
        let (sent, again_us) = self.stranger.act(&hosts, self.now_us);
        self.queue.push(again_us, Event::Stranger);
        let from = Stranger::addr();
        for sent in sent {
            let (to, input) = match sent {
                Sent::Packet { to, bytes } => (to, Input::Packet { from, bytes }),
                Sent::PushPull { to, bytes } => {
                    (to, Input::PushPull { from, origin: Origin::NOWHERE, bytes })
                }
            };
            if let Some(host) = self.host_at(to) {
                let life = Some(self.hosts[host].life);
                let after_us = self.network.delay_us();
                self.plan_event(after_us, Event::Arrive { host, life, input });
            }
        }
    }
}
