//! Who should be in the cluster: the leader's policy, as a function of what it knows.
//!
//! ```text
//!            gossip: alive, same cluster            caught up, in contact
//!   stranger ───────────────────────────> learner ───────────────────────> voter
//!                                            |                               |
//!                                            +── asked to leave, replaced ───+──> not a member
//! ```
//!
//! Gossip is a hint and changes nothing by itself: only the leader proposes, one change at a time.
//! - A new server is always a learner first, so that adding it cannot cost a quorum.
//! - A restart or a crash changes nothing: the server stays a voter.
//! - A member that has been dead for longer than [`MembershipPolicy::dead_after_ms`] is removed, one
//!   at a time, as long as enough voters stay and a majority of them is healthy before and after.
//! - A server that comes with a member's name and a new identity lost its disk. It replaces its old
//!   self, in one joint change, once it has caught up and the old self is not alive.
//! - A server is removed when it asks, and only if a majority of those that stay is in contact.
//! - An identity that was removed is never let in again. Its server is told, sets its data aside and
//!   comes as a new one.

use std::collections::{BTreeMap, BTreeSet};

use super::effect::Event;
use crate::gossip;
use crate::types::{ClusterId, Configuration, Index, Member, NodeId};

/// A learner may be promoted when it lacks at most this many entries.
const MAX_PROMOTION_LAG: u64 = 64;
/// A member counts as in contact if it answered within this time.
const CONTACT_MS: u64 = 1_000;
/// The most members the policy lets in, learners included.
const MAX_MEMBERS: usize = 32;

/// When the dead are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipPolicy {
    /// A member that is dead, and silent towards this leader, for so long is removed; 0: never.
    pub dead_after_ms: u64,
    /// The dead are not removed from among so few voters.
    pub min_voters: usize,
}

/// What the leader knows of a follower's replication.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replica {
    pub(super) match_index: Index,
    pub(super) last_contact_ms: u64,
}

/// All that the policy looks at.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) now_ms: u64,
    /// The leader itself.
    pub(super) local: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) policy: MembershipPolicy,
    /// The latest configuration; no change is in flight.
    pub(super) configuration: &'a Configuration,
    pub(super) last_index: Index,
    /// The followers' progress; the leader itself is not in it.
    pub(super) replicas: BTreeMap<NodeId, Replica>,
    pub(super) gossip: BTreeMap<NodeId, &'a gossip::Member>,
    /// Members that asked to be removed.
    pub(super) leaving: &'a BTreeSet<NodeId>,
}

/// A change the leader should propose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) target: Configuration,
    pub(super) reason: String,
}

impl View<'_> {
    /// The next change to propose, if any is due.
    pub(super) fn next_change(&self) -> Option<Change> {
        self.removal()
            .or_else(|| self.promotion())
            .or_else(|| self.dead_removal())
            .or_else(|| self.address_change())
            .or_else(|| self.admission())
    }

    /// Strangers that cannot be let in because a living member has their name.
    pub(super) fn name_conflicts(&self) -> impl Iterator<Item = Event> {
        self.strangers()
            .filter(|stranger| self.living_namesake(stranger))
            .map(|stranger| Event::NameTaken { name: stranger.name.clone(), id: stranger.id })
    }

    fn removal(&self) -> Option<Change> {
        let id = *self.leaving.iter().find(|id| {
            (**id != self.local || planted!(RemovedLeaderLeads))
                && self.configuration.contains(**id)
                && self.survives_without(**id)
        })?;
        let mut target = self.configuration.clone();
        target.remove(id);
        Some(Change { target, reason: format!("{} leaves", self.name(id)) })
    }

    /// Whether a majority of the voters that stay keeps up with this leader.
    fn survives_without(&self, id: NodeId) -> bool {
        self.is_healthy(self.configuration.voters.iter().filter(|voter| **voter != id))
    }

    /// Whether a majority of `voters` keeps up with this leader.
    fn is_healthy<'b>(&self, voters: impl Iterator<Item = &'b NodeId> + Clone) -> bool {
        voters.clone().filter(|voter| self.keeps_up(**voter)).count() > voters.count() / 2
    }

    fn dead_removal(&self) -> Option<Change> {
        let voters = &self.configuration.voters;
        let may_spare = |id: NodeId| {
            !voters.contains(&id)
                || voters.len() > self.policy.min_voters
                    && self.is_healthy(voters.iter())
                    && self.survives_without(id)
        };
        let members = self.configuration.members.keys().copied();
        let id = members.into_iter().find(|id| self.is_long_dead(*id) && may_spare(*id))?;
        let mut target = self.configuration.clone();
        target.remove(id);
        let reason = format!("{} has been dead for {} ms", self.name(id), self.silent_ms(id));
        Some(Change { target, reason })
    }

    /// Whether gossip does not know it to be alive, and this leader has not heard from it for long.
    fn is_long_dead(&self, id: NodeId) -> bool {
        let state = self.gossip.get(&id).map(|member| member.state);
        let is_gone = matches!(state, None | Some(gossip::State::Dead | gossip::State::Left));
        let dead_after_ms = self.policy.dead_after_ms;
        is_gone && dead_after_ms > 0 && self.silent_ms(id) >= dead_after_ms
    }

    fn silent_ms(&self, id: NodeId) -> u64 {
        let last = self.replicas.get(&id).map_or(self.now_ms, |replica| replica.last_contact_ms);
        self.now_ms.saturating_sub(last)
    }

    fn promotion(&self) -> Option<Change> {
        let ready = |id: &&NodeId| self.caught_up(**id) && !self.leaving.contains(id);
        let id = *self.configuration.learners.iter().find(ready)?;
        let name = &self.configuration.members[&id].name;
        let old_selves: Vec<NodeId> = self.namesakes(name, id).collect();
        if old_selves.iter().any(|old| self.is_alive(*old)) {
            return None;
        }
        let mut target = self.configuration.clone();
        target.learners.remove(&id);
        target.voters.insert(id);
        for old in &old_selves {
            target.remove(*old);
        }
        let reason = match old_selves.first() {
            None => format!("{name} has caught up"),
            Some(old) => format!("{name} has caught up and replaces its old self {old}"),
        };
        Some(Change { target, reason })
    }

    fn admission(&self) -> Option<Change> {
        if self.configuration.members.len() >= MAX_MEMBERS {
            return None;
        }
        let stranger = self.strangers().find(|stranger| !self.living_namesake(stranger))?;
        let mut target = self.configuration.clone();
        let old_learners: Vec<NodeId> = self
            .namesakes(&stranger.name, stranger.id)
            .filter(|id| target.learners.contains(id))
            .collect();
        for old in old_learners {
            target.remove(old);
        }
        target.learners.insert(stranger.id);
        target.members.insert(stranger.id, labels(stranger));
        Some(Change { target, reason: format!("{} joins as a learner", stranger.name) })
    }

    fn address_change(&self) -> Option<Change> {
        let moved = |(id, member): &(&NodeId, &Member)| {
            let known = self.gossip.get(id).filter(|known| known.state == gossip::State::Alive);
            known.filter(|known| labels(known) != **member).copied()
        };
        let known = self.configuration.members.iter().find_map(|entry| moved(&entry))?;
        let mut target = self.configuration.clone();
        target.members.insert(known.id, labels(known));
        Some(Change { target, reason: format!("{} has a new address", known.name) })
    }

    /// Living servers of this cluster that are not members of it.
    fn strangers(&self) -> impl Iterator<Item = &gossip::Member> {
        self.gossip.values().copied().filter(|member| {
            member.state == gossip::State::Alive
                && member.cluster == Some(self.cluster)
                && !self.configuration.contains(member.id)
                && (!self.configuration.has_removed(member.id) || planted!(RemovedLetInAgain))
                && !self.leaving.contains(&member.id)
        })
    }

    fn living_namesake(&self, stranger: &gossip::Member) -> bool {
        self.namesakes(&stranger.name, stranger.id).any(|id| self.is_alive(id))
    }

    /// Members with this name and another identity.
    fn namesakes<'b>(&'b self, name: &'b str, id: NodeId) -> impl Iterator<Item = NodeId> + 'b {
        let members = self.configuration.members.iter();
        members.filter(move |(other, m)| **other != id && m.name == name).map(|(other, _)| *other)
    }

    fn is_alive(&self, id: NodeId) -> bool {
        id == self.local
            || self.gossip.get(&id).is_some_and(|m| m.state == gossip::State::Alive)
            || self.in_contact(id)
    }

    fn in_contact(&self, id: NodeId) -> bool {
        id == self.local || self.replicas.contains_key(&id) && self.silent_ms(id) < CONTACT_MS
    }

    /// Whether it is in contact, and has stored something from this leader. A leader that was just
    /// elected counts everybody as in contact, the dead too.
    fn keeps_up(&self, id: NodeId) -> bool {
        let has_stored = |replica: &Replica| replica.match_index > Index(0);
        id == self.local || self.in_contact(id) && self.replicas.get(&id).is_some_and(has_stored)
    }

    fn caught_up(&self, id: NodeId) -> bool {
        let lag = |replica: &Replica| self.last_index.0.saturating_sub(replica.match_index.0);
        let near = |replica: &Replica| lag(replica) <= MAX_PROMOTION_LAG;
        self.replicas.get(&id).is_some_and(near) && self.keeps_up(id)
    }

    fn name(&self, id: NodeId) -> &str {
        self.configuration.members.get(&id).map_or("a server", |member| member.name.as_str())
    }
}

pub(super) fn labels(member: &gossip::Member) -> Member {
    Member {
        name: member.name.clone(),
        peer_addr: member.peer_addr.clone(),
        rpc_addr: member.rpc_addr.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId(9);
    const NOW_MS: u64 = 10_000;

    /// A cluster seen by its leader, node 1.
    struct Scene {
        configuration: Configuration,
        gossip: Vec<gossip::Member>,
        replicas: BTreeMap<NodeId, Replica>,
        leaving: BTreeSet<NodeId>,
        policy: MembershipPolicy,
    }

    impl Scene {
        fn of_voters(ids: &[u64]) -> Scene {
            let mut scene = Scene {
                configuration: Configuration::default(),
                gossip: Vec::new(),
                replicas: BTreeMap::new(),
                leaving: BTreeSet::new(),
                policy: MembershipPolicy { dead_after_ms: 5_000, min_voters: 3 },
            };
            for id in ids {
                let member = scene.hear_of(*id, &format!("n{id}"), gossip::State::Alive);
                scene.configuration.voters.insert(NodeId(*id));
                scene.configuration.members.insert(NodeId(*id), member);
                scene.replica(*id, 100, NOW_MS);
            }
            scene
        }

        fn hear_of(&mut self, id: u64, name: &str, state: gossip::State) -> Member {
            let member = gossip::Member {
                id: NodeId(id),
                name: name.to_owned(),
                cluster: Some(CLUSTER),
                addr: ([127, 0, 0, 1], id as u16).into(),
                peer_addr: format!("{name}:8401"),
                rpc_addr: format!("{name}:8400"),
                incarnation: 1,
                state,
                since_ms: 0,
            };
            let labels = labels(&member);
            self.gossip.retain(|known| known.id != member.id);
            self.gossip.push(member);
            labels
        }

        fn learner(&mut self, id: u64, name: &str) {
            let member = self.hear_of(id, name, gossip::State::Alive);
            self.configuration.learners.insert(NodeId(id));
            self.configuration.members.insert(NodeId(id), member);
        }

        fn replica(&mut self, id: u64, match_index: u64, last_contact_ms: u64) {
            let replica = Replica { match_index: Index(match_index), last_contact_ms };
            self.replicas.insert(NodeId(id), replica);
        }

        fn view(&self) -> View<'_> {
            View {
                now_ms: NOW_MS,
                local: NodeId(1),
                cluster: CLUSTER,
                policy: self.policy,
                configuration: &self.configuration,
                last_index: Index(100),
                replicas: self.replicas.clone(),
                gossip: self.gossip.iter().map(|member| (member.id, member)).collect(),
                leaving: &self.leaving,
            }
        }

        fn change(&self) -> Option<Configuration> {
            self.view().next_change().map(|change| change.target)
        }
    }

    fn ids(set: &BTreeSet<NodeId>) -> Vec<u64> {
        set.iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_steady_cluster_is_left_alone() {
        assert_eq!(Scene::of_voters(&[1, 2, 3]).change(), None);
    }

    #[test]
    fn a_stranger_becomes_a_learner() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.hear_of(4, "n4", gossip::State::Alive);
        let target = scene.change().expect("a change is due");
        assert_eq!((ids(&target.voters), ids(&target.learners)), (vec![1, 2, 3], vec![4]));
    }

    #[test]
    fn a_stranger_of_another_cluster_or_a_dead_one_is_ignored() {
        let mut scene = Scene::of_voters(&[1]);
        scene.hear_of(4, "n4", gossip::State::Alive);
        scene.gossip.last_mut().expect("just added").cluster = Some(ClusterId(8));
        scene.hear_of(5, "n5", gossip::State::Dead);
        assert_eq!(scene.change(), None);
    }

    #[test]
    fn a_learner_is_promoted_once_it_has_caught_up_and_answers() {
        let mut scene = Scene::of_voters(&[1]);
        scene.learner(4, "n4");
        scene.replica(4, 10, NOW_MS);
        assert_eq!(scene.change(), None, "it lacks 90 entries");
        scene.replica(4, 100, NOW_MS - CONTACT_MS);
        assert_eq!(scene.change(), None, "it has been silent");
        scene.replica(4, 99, NOW_MS - 1);
        assert_eq!(ids(&scene.change().expect("a change is due").voters), [1, 4]);
    }

    #[test]
    fn a_dead_voter_of_three_stays_a_voter() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.hear_of(3, "n3", gossip::State::Dead);
        scene.replica(3, 1, 0);
        assert_eq!(scene.change(), None);
    }

    #[test]
    fn a_voter_that_is_dead_for_long_is_removed_where_enough_stay() {
        let mut scene = Scene::of_voters(&[1, 2, 3, 4]);
        scene.hear_of(4, "n4", gossip::State::Dead);
        scene.replica(4, 1, NOW_MS - 4_999);
        assert_eq!(scene.change(), None, "it may come back");
        scene.replica(4, 1, NOW_MS - 5_000);
        let target = scene.change().expect("a change is due");
        assert_eq!(ids(&target.voters), [1, 2, 3]);
        assert!(target.has_removed(NodeId(4)));
    }

    #[test]
    fn the_silent_whom_gossip_knows_to_live_are_not_removed() {
        let mut scene = Scene::of_voters(&[1, 2, 3, 4]);
        scene.replica(4, 1, 0);
        for state in [gossip::State::Alive, gossip::State::Suspect] {
            scene.hear_of(4, "n4", state);
            assert_eq!(scene.change(), None);
        }
    }

    #[test]
    fn the_dead_are_removed_only_by_healthy_majorities_before_and_after() {
        let mut scene = Scene::of_voters(&[1, 2, 3, 4, 5, 6]);
        for id in [4, 5, 6] {
            scene.hear_of(id, &format!("n{id}"), gossip::State::Dead);
            scene.replica(id, 1, 0);
        }
        assert_eq!(scene.change(), None, "3 of 6 are no majority");
        scene.hear_of(6, "n6", gossip::State::Alive);
        scene.replica(6, 100, NOW_MS);
        assert_eq!(ids(&scene.change().expect("a change is due").voters), [1, 2, 3, 5, 6]);
    }

    #[test]
    fn nobody_is_removed_for_being_dead_where_that_is_switched_off() {
        let mut scene = Scene::of_voters(&[1, 2, 3, 4]);
        scene.policy.dead_after_ms = 0;
        scene.hear_of(4, "n4", gossip::State::Dead);
        scene.replica(4, 1, 0);
        assert_eq!(scene.change(), None);
    }

    #[test]
    fn a_dead_learner_is_removed_whatever_the_number_of_voters() {
        let mut scene = Scene::of_voters(&[1]);
        scene.learner(4, "n4");
        scene.hear_of(4, "n4", gossip::State::Dead);
        scene.replica(4, 1, 0);
        assert!(!scene.change().expect("a change is due").contains(NodeId(4)));
    }

    #[test]
    fn a_wiped_server_replaces_its_old_self_in_one_change() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.hear_of(3, "n3", gossip::State::Dead);
        scene.replica(3, 1, 0);
        scene.learner(33, "n3");
        scene.replica(33, 100, NOW_MS);
        let target = scene.change().expect("a change is due");
        assert_eq!(ids(&target.voters), [1, 2, 33]);
        assert!(target.has_removed(NodeId(3)));
    }

    #[test]
    fn a_stranger_with_a_living_members_name_is_kept_out_and_reported() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.hear_of(33, "n3", gossip::State::Alive);
        assert_eq!(scene.change(), None);
        let conflict = Event::NameTaken { name: "n3".to_owned(), id: NodeId(33) };
        assert_eq!(scene.view().name_conflicts().collect::<Vec<_>>(), [conflict]);
    }

    #[test]
    fn who_asks_to_leave_is_removed_if_the_rest_has_a_healthy_majority() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.leaving.insert(NodeId(2));
        assert_eq!(ids(&scene.change().expect("a change is due").voters), [1, 3]);
        scene.replica(3, 100, 0);
        scene.hear_of(3, "n3", gossip::State::Dead);
        assert_eq!(scene.change(), None, "1 alone is no majority of 1 and 3");
    }

    #[test]
    fn who_was_removed_is_never_let_in_again() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.configuration.remove(NodeId(2));
        assert_eq!(scene.change(), None, "it is alive, and a member no more");
    }

    #[test]
    fn a_new_leader_removes_nobody_before_a_majority_of_the_rest_has_answered_it() {
        let mut scene = Scene::of_voters(&[1, 2, 3]);
        scene.leaving.insert(NodeId(2));
        scene.replica(3, 0, NOW_MS);
        assert_eq!(scene.change(), None, "3 was counted as in contact when 1 was elected");
        scene.replica(3, 1, NOW_MS);
        assert_eq!(ids(&scene.change().expect("a change is due").voters), [1, 3]);
    }

    #[test]
    fn a_leader_never_removes_itself() {
        let mut scene = Scene::of_voters(&[1, 2]);
        scene.leaving.insert(NodeId(1));
        assert_eq!(scene.change(), None);
    }

    #[test]
    fn a_member_that_moved_gets_its_new_address() {
        let mut scene = Scene::of_voters(&[1, 2]);
        scene.gossip[1].rpc_addr = "elsewhere:8400".to_owned();
        let target = scene.change().expect("a change is due");
        assert_eq!(target.members[&NodeId(2)].rpc_addr, "elsewhere:8400");
    }
}
