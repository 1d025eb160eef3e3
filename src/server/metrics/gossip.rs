//! Who is there, as this member sees it.

use prometheus::{IntCounter, IntGaugeVec};

use super::register::{Register, set};
use crate::gossip::{Gossip, State};
use crate::node::{Effect, Event};

const STATES: [(State, &str); 4] = [
    (State::Alive, "alive"),
    (State::Suspect, "suspect"),
    (State::Dead, "dead"),
    (State::Left, "left"),
];

/// The metrics of discovery.
pub(in crate::server) struct GossipMetrics {
    members: IntGaugeVec,
    suspicions: IntCounter,
    deaths: IntCounter,
    refutations: IntCounter,
    probe_failures: IntCounter,
    sent: IntCounter,
    received: IntCounter,
    refused: IntCounter,
}

impl GossipMetrics {
    pub(super) fn new(register: &Register) -> GossipMetrics {
        let counter = |name, help| register.counter(name, help);
        GossipMetrics {
            members: register.gauges(
                "mokv_gossip_members",
                "Servers that this one knows, itself included, by what it takes them for",
                "state",
            ),
            suspicions: counter(
                "mokv_gossip_suspicions_total",
                "How often a member became a suspect here, by an own probe or by hearsay",
            ),
            deaths: counter(
                "mokv_gossip_deaths_total",
                "How often a member was declared dead here",
            ),
            refutations: counter(
                "mokv_gossip_refutations_total",
                "How often this server had to say that it lives: others could not reach it",
            ),
            probe_failures: counter(
                "mokv_gossip_probe_failures_total",
                "Own probes that nobody answered, neither the target nor through others",
            ),
            sent: counter("mokv_gossip_packets_sent_total", "Datagrams sent"),
            received: counter("mokv_gossip_packets_received_total", "Datagrams received"),
            refused: counter(
                "mokv_gossip_messages_refused_total",
                "Messages of another cluster, damaged, or meant for a former owner of the address",
            ),
        }
    }

    pub(super) fn count(&self, effect: &Effect) {
        match effect {
            Effect::SendPacket { .. } => self.sent.inc(),
            Effect::Event(Event::Member { state: State::Suspect, .. }) => self.suspicions.inc(),
            Effect::Event(Event::Member { state: State::Dead, .. }) => self.deaths.inc(),
            Effect::Event(Event::BadGossip { .. }) => self.refused.inc(),
            _ => {}
        }
    }

    /// A datagram came.
    pub(in crate::server) fn packet_received(&self) {
        self.received.inc();
    }

    pub(super) fn observe(&self, gossip: &Gossip) {
        for (state, label) in STATES {
            let count = gossip.members().filter(|member| member.state == state).count();
            set(&self.members.with_label_values(&[label]), count as u64);
        }
        let counts = gossip.counts();
        raise(&self.refutations, counts.refutations);
        raise(&self.probe_failures, counts.probe_failures);
    }
}

/// Brings a counter up to a count that is kept elsewhere.
fn raise(counter: &IntCounter, count: u64) {
    counter.inc_by(count - counter.get());
}
