//! All members this node has heard of, and what the clock will do with each.
//!
//! ```text
//!                 probe fails, or an accusation is heard
//!        +-------+ ------------------------------------> +---------+
//!   ---> | Alive |                                       | Suspect |
//!        +-------+ <------------------------------------ +---------+
//!          |   ^     it refutes: a greater incarnation       |   |
//!          |   |                                             |   | its time runs out,
//!          |   |     it comes back: a greater incarnation    |   | or that is heard
//!          |   +-----------------------------+               |   v
//!          |                                 |           +---------+
//!          | it says goodbye                 +-----------|  Dead   |---+
//!          |   +-------+                     |           +---------+   | after
//!          +-> | Left  |---------------------+                         | forget_after_ms
//!              +-------+-----------------------------------------------+---> forgotten
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::types::{ClusterId, NodeId};

use super::config::Config;
use super::member::{Claim, Member, State, Verdict, may_mix};
use super::probe::Target;
use super::suspicion::Suspicion;

/// The most members that are known at once, this node included. When it is full, a newcomer takes
/// the place of the dead or departed member that would be forgotten next; if there is none, it is
/// refused.
pub(super) const MAX_MEMBERS: usize = 256;

/// The member table. This node's own entry is always in it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    own: NodeId,
    /// At most [`MAX_MEMBERS`].
    entries: BTreeMap<NodeId, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Its `state` is always that of `standing`.
    member: Member,
    standing: Standing,
}

/// A member's state, with what the clock needs to move it on.
#[derive(Clone, Debug)]
enum Standing {
    Alive,
    Suspect(Suspicion),
    Dead { forget_at_ms: u64 },
    Left { forget_at_ms: u64 },
}

/// What a claim has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing: as much or more was known.
    Stale,
    /// A suspicion has one more accuser.
    Confirmed,
    /// The member itself.
    News,
    /// Nothing: there was no room for another member.
    Full,
}

impl Table {
    /// A table with this node alone.
    pub(super) fn new(own: Member) -> Table {
        let id = own.id;
        let entry = Entry { member: own, standing: Standing::Alive };
        Table { own: id, entries: BTreeMap::from([(id, entry)]) }
    }

    pub(super) fn own(&self) -> &Member {
        &self.entries.get(&self.own).expect("a node is in its own table").member
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Member> {
        self.entries.get(&id).map(|entry| &entry.member)
    }

    /// By id, this node included.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().map(|entry| &entry.member)
    }

    /// Everybody but this node whose state is `chosen`.
    pub(super) fn others(&self, chosen: impl Fn(State) -> bool) -> Vec<NodeId> {
        let others = self.members().filter(|member| member.id != self.own && chosen(member.state));
        others.map(|member| member.id).collect()
    }

    /// n in the formulas of the papers: the members that take part.
    pub(super) fn live_count(&self) -> usize {
        self.members().filter(|member| member.state.is_live()).count()
    }

    /// Whether a live member is where `id` used to be.
    pub(super) fn is_address_taken_over(&self, id: NodeId) -> bool {
        let addr = self.get(id).map(|member| member.addr);
        let mut live = self.members().filter(|member| member.state.is_live() && member.id != id);
        live.any(|member| Some(member.addr) == addr)
    }

    /// What this node would tell others of `id`; nothing when that is as good as forgotten.
    pub(super) fn claim(&self, id: NodeId, now_ms: u64) -> Option<Claim> {
        let Entry { member, standing } = self.entries.get(&id)?;
        let left_ms = |at_ms: u64| at_ms.saturating_sub(now_ms).min(u64::from(u32::MAX)) as u32;
        let verdict = match standing {
            Standing::Alive => Verdict::Alive,
            Standing::Suspect(suspicion) => {
                Verdict::Suspect { accusers: suspicion.accusers().clone() }
            }
            Standing::Dead { forget_at_ms } => {
                Verdict::Dead { forget_in_ms: left_ms(*forget_at_ms) }
            }
            Standing::Left { forget_at_ms } => {
                Verdict::Left { forget_in_ms: left_ms(*forget_at_ms) }
            }
        };
        let claim =
            Claim { id, incarnation: member.incarnation, verdict, metadata: member.metadata() };
        (!claim.is_expired()).then_some(claim)
    }

    /// Takes in a claim about another member.
    pub(super) fn hear(&mut self, claim: Claim, now_ms: u64, config: &Config) -> Heard {
        assert!(claim.id != self.own, "a claim about this node is for it to answer");
        let Some(entry) = self.entries.get_mut(&claim.id) else {
            return self.admit(claim, now_ms, config);
        };
        let is_reborn = claim.verdict == Verdict::Alive
            && claim.incarnation == entry.member.incarnation
            && planted!(AliveOverridesSuspect);
        let order = claim.precedence().cmp(&entry.member.precedence());
        let order = if is_reborn { Ordering::Greater } else { order };
        match order {
            Ordering::Less => Heard::Stale,
            Ordering::Equal => entry.confirm(&claim.verdict),
            Ordering::Greater => {
                let known = entry.member.clone();
                self.replace(claim, now_ms, config);
                let entry = self.entries.get_mut(&known.id).expect("it was just replaced");
                if planted!(AddressNeverChanges) {
                    entry.member.addr = known.addr;
                }
                if entry.member.state == known.state {
                    entry.member.since_ms = known.since_ms;
                }
                Heard::News
            }
        }
    }

    /// Changes what this node says about itself: the only place where an incarnation is raised.
    pub(super) fn declare(&mut self, change: impl FnOnce(&mut Member)) {
        let own = self.entries.get_mut(&self.own).expect("a node is in its own table");
        let incarnation = own.member.incarnation;
        change(&mut own.member);
        assert!(own.member.incarnation >= incarnation, "an incarnation never falls");
    }

    /// This node leaves for good.
    pub(super) fn declare_left(&mut self, now_ms: u64, config: &Config) {
        let own = self.entries.get_mut(&self.own).expect("a node is in its own table");
        own.standing = Standing::Left { forget_at_ms: now_ms + config.forget_after_ms };
        own.member.state = State::Left;
        own.member.since_ms = now_ms;
    }

    /// The suspects whose time to refute has run out.
    pub(super) fn condemned(&self, now_ms: u64) -> Vec<Target> {
        let is_over = |entry: &&Entry| match &entry.standing {
            Standing::Suspect(suspicion) => suspicion.deadline_ms() <= now_ms,
            Standing::Alive | Standing::Dead { .. } | Standing::Left { .. } => false,
        };
        let as_target = |Entry { member, .. }: &Entry| Target {
            id: member.id,
            incarnation: member.incarnation,
        };
        self.entries.values().filter(is_over).map(as_target).collect()
    }

    /// Drops the dead and departed whose date has come.
    pub(super) fn forget(&mut self, now_ms: u64) {
        let own = self.own;
        self.entries.retain(|id, entry| {
            *id == own || entry.forget_at_ms().is_none_or(|forget_at_ms| forget_at_ms > now_ms)
        });
    }

    /// Drops all members that may not mix with `cluster`.
    pub(super) fn drop_foreign(&mut self, cluster: ClusterId) {
        self.entries.retain(|_, entry| may_mix(entry.member.cluster, Some(cluster)));
    }

    /// When the next suspicion ends or the next member is to be forgotten.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let others = self.entries.values().filter(|entry| entry.member.id != self.own);
        others.filter_map(Entry::deadline_ms).min()
    }

    /// Makes every deadline later.
    pub(super) fn postpone(&mut self, by_ms: u64) {
        for entry in self.entries.values_mut() {
            match &mut entry.standing {
                Standing::Alive => {}
                Standing::Suspect(suspicion) => suspicion.postpone(by_ms),
                Standing::Dead { forget_at_ms } | Standing::Left { forget_at_ms } => {
                    *forget_at_ms += by_ms;
                }
            }
        }
    }

    fn admit(&mut self, claim: Claim, now_ms: u64, config: &Config) -> Heard {
        if claim.is_expired() {
            return Heard::Stale;
        }
        if self.entries.len() >= MAX_MEMBERS {
            let next_forgotten = self.next_forgotten();
            let Some(evicted) = next_forgotten.filter(|_| claim.verdict.state().is_live()) else {
                return Heard::Full;
            };
            self.entries.remove(&evicted);
        }
        self.replace(claim, now_ms, config);
        Heard::News
    }

    fn replace(&mut self, claim: Claim, now_ms: u64, config: &Config) {
        let forget_at_ms =
            |forget_in_ms: u32| now_ms + u64::from(forget_in_ms).min(config.forget_after_ms);
        let standing = match &claim.verdict {
            Verdict::Alive => Standing::Alive,
            Verdict::Suspect { accusers } => Standing::Suspect(Suspicion::new(
                accusers.clone(),
                now_ms,
                self.live_count(),
                config,
            )),
            Verdict::Dead { forget_in_ms } => {
                Standing::Dead { forget_at_ms: forget_at_ms(*forget_in_ms) }
            }
            Verdict::Left { forget_in_ms } => {
                Standing::Left { forget_at_ms: forget_at_ms(*forget_in_ms) }
            }
        };
        self.entries.insert(claim.id, Entry { member: claim.into_member(now_ms), standing });
    }

    fn next_forgotten(&self) -> Option<NodeId> {
        let others = self.entries.values().filter(|entry| entry.member.id != self.own);
        let dates = others.filter_map(|entry| Some((entry.forget_at_ms()?, entry.member.id)));
        dates.min().map(|(_, id)| id)
    }
}

impl Entry {
    /// Another claim with the same precedence: all it can add is accusers.
    fn confirm(&mut self, verdict: &Verdict) -> Heard {
        if let (Standing::Suspect(suspicion), Verdict::Suspect { accusers }) =
            (&mut self.standing, verdict)
            && suspicion.accuse(accusers)
        {
            return Heard::Confirmed;
        }
        Heard::Stale
    }

    fn forget_at_ms(&self) -> Option<u64> {
        match self.standing {
            Standing::Alive | Standing::Suspect(_) => None,
            Standing::Dead { forget_at_ms } | Standing::Left { forget_at_ms } => Some(forget_at_ms),
        }
    }

    fn deadline_ms(&self) -> Option<u64> {
        match &self.standing {
            Standing::Alive => None,
            Standing::Suspect(suspicion) => Some(suspicion.deadline_ms()),
            Standing::Dead { forget_at_ms } | Standing::Left { forget_at_ms } => {
                Some(*forget_at_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::member::Precedence;
    use super::super::testing::identity;
    use super::*;

    fn config() -> Config {
        Config::lan(identity(1), 0)
    }

    fn table() -> Table {
        Table::new(Member::starting(identity(1), 0))
    }

    fn claim(id: u64, incarnation: u64, verdict: Verdict) -> Claim {
        let metadata = Member::starting(identity(id), 0).metadata();
        Claim { id: NodeId(id), incarnation, verdict, metadata }
    }

    fn dead(forget_in_ms: u32) -> Verdict {
        Verdict::Dead { forget_in_ms }
    }

    fn suspect(accuser: u64) -> Verdict {
        Verdict::Suspect { accusers: [NodeId(accuser)].into() }
    }

    #[test]
    fn a_state_keeps_its_date_when_only_the_incarnation_changes() {
        let mut table = table();
        for (now_ms, incarnation) in [(10, 1), (20, 2)] {
            let claim = claim(2, incarnation, Verdict::Alive);
            assert_eq!(table.hear(claim, now_ms, &config()), Heard::News);
        }
        assert_eq!(table.get(NodeId(2)).map(|member| member.since_ms), Some(10));
        assert_eq!(table.hear(claim(2, 2, suspect(3)), 30, &config()), Heard::News);
        assert_eq!(table.get(NodeId(2)).map(|member| member.since_ms), Some(30));
    }

    #[test]
    fn a_further_accuser_is_passed_on_and_the_same_one_is_not() {
        let mut table = table();
        let mut hear = |accuser| table.hear(claim(2, 1, suspect(accuser)), 0, &config());
        assert_eq!(hear(3), Heard::News);
        assert_eq!(hear(4), Heard::Confirmed);
        assert_eq!(hear(4), Heard::Stale);
    }

    #[test]
    fn what_is_to_be_forgotten_is_neither_told_nor_learned() {
        let mut table = table();
        assert_eq!(table.hear(claim(2, 1, dead(0)), 0, &config()), Heard::Stale);
        assert_eq!(table.hear(claim(2, 1, dead(100)), 0, &config()), Heard::News);
        let told = table.claim(NodeId(2), 60).map(|claim| claim.verdict);
        assert_eq!(told, Some(dead(40)), "the memory is no younger for being passed on");
        assert_eq!(table.claim(NodeId(2), 100), None);
        table.forget(100);
        assert_eq!(table.get(NodeId(2)), None);
    }

    #[test]
    fn when_full_a_newcomer_replaces_the_death_that_is_forgotten_next() {
        let mut table = table();
        for id in 2..=MAX_MEMBERS as u64 {
            assert_eq!(table.hear(claim(id, 1, Verdict::Alive), 0, &config()), Heard::News);
        }
        assert_eq!(table.hear(claim(900, 1, Verdict::Alive), 0, &config()), Heard::Full);
        table.hear(claim(7, 1, dead(500)), 0, &config());
        table.hear(claim(8, 1, dead(400)), 0, &config());
        assert_eq!(table.hear(claim(900, 1, dead(500)), 0, &config()), Heard::Full);
        assert_eq!(table.hear(claim(900, 1, Verdict::Alive), 0, &config()), Heard::News);
        assert_eq!(table.get(NodeId(8)), None);
        assert_eq!(table.members().count(), MAX_MEMBERS);
    }

    fn arb_claim() -> impl Strategy<Value = Claim> {
        let verdict = prop_oneof![
            Just(Verdict::Alive),
            (1..9u64).prop_map(suspect),
            Just(dead(1000)),
            Just(Verdict::Left { forget_in_ms: 1000 }),
        ];
        (2..5u64, 0..4u64, verdict).prop_map(|(id, inc, verdict)| claim(id, inc, verdict))
    }

    fn holds(claims: &[Claim]) -> Vec<(NodeId, Precedence)> {
        let mut table = table();
        for claim in claims {
            table.hear(claim.clone(), 0, &config());
        }
        table.members().map(|member| (member.id, member.precedence())).collect()
    }

    proptest! {
        #[test]
        fn all_who_heard_the_same_agree_in_whatever_order_and_however_often(
            (claims, shuffled) in vec(arb_claim(), 0..12)
                .prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
        ) {
            let twice = [shuffled.clone(), shuffled].concat();
            prop_assert_eq!(holds(&claims), holds(&twice));
        }
    }
}
