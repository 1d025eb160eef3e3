//! What a node makes of claims, its own conclusions included.

use std::cmp::Ordering;

use super::Gossip;
use super::member::{Claim, State, may_mix};
use super::table::Heard;

impl Gossip {
    /// Takes in what came with a message.
    pub(super) fn hear_all(&mut self, claims: Vec<Claim>, now_ms: u64) {
        for claim in claims {
            self.hear(claim, now_ms);
        }
    }

    /// Takes in one claim, and passes it on if it is news.
    pub(super) fn hear(&mut self, claim: Claim, now_ms: u64) {
        let id = claim.id;
        if id == self.table.own().id {
            return self.defend(&claim);
        }
        if !may_mix(claim.metadata.cluster, self.table.own().cluster) {
            self.refused_claims += 1;
            return;
        }
        let is_live = claim.verdict.state().is_live();
        match self.table.hear(claim, now_ms, &self.config) {
            Heard::News => {
                self.outbox.changed(id);
                self.rumours.push(id);
                if is_live {
                    self.prober.insert(id, &mut self.prng);
                }
            }
            Heard::Confirmed => self.rumours.push(id),
            Heard::Full => self.refused_claims += 1,
            Heard::Stale => {}
        }
    }

    /// Answers a claim about this node itself. What is not its own word is outbid with a greater
    /// incarnation (SWIM §4.2). That also covers a restart with a clock set back, whose first
    /// incarnation is too small.
    fn defend(&mut self, claim: &Claim) {
        if planted!(AcceptsOwnDeath) && claim.verdict.state() == State::Dead {
            return;
        }
        let own = self.table.own();
        match claim.precedence().cmp(&own.precedence()) {
            // Whoever says so has missed what we answered: it must hear that again, and soon, or
            // a refuted suspicion would run out there all the same.
            Ordering::Less => self.rumours.push(claim.id),
            Ordering::Equal if claim.metadata == own.metadata() => {}
            Ordering::Equal | Ordering::Greater => {
                self.counts.refutations += 1;
                if claim.verdict.state() == State::Suspect {
                    // Lifeguard §IV-A: that others could not reach us may be our own fault.
                    self.health.worsen();
                }
                let accused = if planted!(RestartDoesNotOutbid) { 0 } else { claim.incarnation };
                let step = u64::from(!planted!(RefutesWithoutOutbidding));
                let outbidding = accused.max(own.incarnation).saturating_add(step);
                self.table.declare(|own| own.incarnation = outbidding);
                self.spread_own();
            }
        }
    }
}
