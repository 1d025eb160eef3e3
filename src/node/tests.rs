//! Stories of whole clusters: requests, leadership, membership.

use std::collections::BTreeSet;

use super::testing::{Cluster, DEAD_AFTER_MS, Outcome};
use super::{Bootstrap, Failure, Role};
use crate::types::{NodeId, Revision};

fn follower_of(cluster: &Cluster) -> u64 {
    let leader = cluster.leader().expect("a leader");
    cluster.servers.keys().map(|id| id.0).find(|id| *id != leader).expect("another server")
}

#[test]
fn three_empty_servers_become_one_cluster() {
    let cluster = Cluster::settled(3);
    assert_eq!(cluster.voters(), [1, 2, 3]);
    let clusters: Vec<_> = cluster.servers.values().map(|s| s.node.status().cluster).collect();
    assert!(clusters.iter().all(|id| *id == clusters[0] && id.is_some()));
}

#[test]
fn a_write_is_answered_with_its_revision_on_the_leader_and_on_a_follower() {
    let mut cluster = Cluster::settled(3);
    let (leader, follower) = (cluster.leader().expect("a leader"), follower_of(&cluster));
    let first = cluster.set(leader, "a", "1");
    assert_eq!(cluster.outcome(leader, first), Outcome::Written(Revision(1)));
    let second = cluster.set(follower, "a", "2");
    assert_eq!(cluster.outcome(follower, second), Outcome::Written(Revision(2)));
}

#[test]
fn a_read_on_a_follower_sees_every_write_that_was_answered_before() {
    let mut cluster = Cluster::settled(3);
    let (leader, follower) = (cluster.leader().expect("a leader"), follower_of(&cluster));
    for value in ["1", "2", "3", "4", "5"] {
        let write = cluster.set(leader, "a", value);
        cluster.outcome(leader, write);
        let read = cluster.read(follower);
        assert_eq!(cluster.outcome(follower, read), Outcome::Served);
        assert_eq!(cluster.server(follower).map[&b"a"[..]], value);
    }
}

#[test]
fn a_write_taken_without_a_leader_waits_for_one() {
    let mut cluster = Cluster::settled(3);
    let (leader, follower) = (cluster.leader().expect("a leader"), follower_of(&cluster));
    cluster.stop(leader);
    cluster.run_for(200);
    let write = cluster.set(follower, "a", "1");
    assert!(matches!(
        cluster.outcome(follower, write),
        Outcome::Written(_) | Outcome::Failed(Failure::OutcomeUnknown)
    ));
    let again = cluster.set(follower, "a", "2");
    assert!(matches!(cluster.outcome(follower, again), Outcome::Written(_)));
}

#[test]
fn a_leader_that_is_cut_off_says_that_the_outcome_is_unknown() {
    let mut cluster = Cluster::settled(3);
    let leader = cluster.leader().expect("a leader");
    cluster.cut_off(leader, true);
    let write = cluster.set(leader, "a", "1");
    assert_eq!(cluster.outcome(leader, write), Outcome::Failed(Failure::OutcomeUnknown));
}

#[test]
fn a_server_without_a_quorum_fails_definitely_and_serves_no_read() {
    let mut cluster = Cluster::settled(3);
    let leader = cluster.leader().expect("a leader");
    let follower = follower_of(&cluster);
    cluster.cut_off(follower, true);
    cluster.run_until("the follower knows no leader", |cluster| {
        cluster.servers[&NodeId(follower)].node.status().leader.is_none()
    });
    let (write, read) = (cluster.set(follower, "a", "1"), cluster.read(follower));
    assert_eq!(cluster.outcome(follower, write), Outcome::Failed(Failure::NoLeader));
    assert_eq!(cluster.outcome(follower, read), Outcome::Failed(Failure::NoLeader));
    assert!(!cluster.server(follower).node.is_serving());
    assert!(cluster.server(leader).node.is_serving(), "the others go on");
}

#[test]
fn all_servers_restart_and_keep_what_was_written() {
    let mut cluster = Cluster::settled(3);
    let leader = cluster.leader().expect("a leader");
    let write = cluster.set(leader, "a", "1");
    cluster.outcome(leader, write);
    for id in 1..=3 {
        cluster.restart(id);
    }
    let read = cluster.read(2);
    assert_eq!(cluster.outcome(2, read), Outcome::Served);
    assert_eq!(cluster.server(2).map[&b"a"[..]], "1");
    assert_eq!(cluster.server(2).node.status().revision, Revision(1));
}

#[test]
fn a_new_server_joins_as_a_learner_and_becomes_a_voter() {
    let mut cluster = Cluster::settled(3);
    cluster.start(4, "n4", Bootstrap::Never);
    cluster.run_until("it is a learner", |cluster| {
        cluster.servers[&NodeId(4)].node.status().role == Role::Learner
    });
    cluster.run_until("it is a voter", |cluster| cluster.voters() == [1, 2, 3, 4]);
}

#[test]
fn a_server_told_to_bootstrap_joins_the_cluster_its_seeds_know() {
    let mut cluster = Cluster::settled(3);
    cluster.start(4, "n4", Bootstrap::Alone);
    cluster.run_until("it is a voter", |cluster| cluster.voters() == [1, 2, 3, 4]);
}

#[test]
fn a_wiped_server_comes_back_as_a_new_one_and_replaces_its_old_self() {
    let mut cluster = Cluster::settled(3);
    cluster.stop(3);
    cluster.start(33, "n3", Bootstrap::Never);
    cluster.run_until("it has replaced its old self", |cluster| cluster.voters() == [1, 2, 33]);
}

#[test]
fn a_crashed_voter_of_three_stays_a_voter() {
    let mut cluster = Cluster::settled(3);
    cluster.stop(3);
    cluster.run_for(2 * DEAD_AFTER_MS);
    assert_eq!(cluster.voters(), [1, 2, 3]);
}

#[test]
fn voters_that_stay_dead_are_removed_one_by_one_down_to_three() {
    let mut cluster = Cluster::settled(6);
    for id in [4, 5] {
        cluster.stop(id);
    }
    cluster.run_for(DEAD_AFTER_MS / 2);
    assert_eq!(cluster.voters().len(), 6, "they may come back");
    cluster.run_until("both are removed", |cluster| cluster.voters() == [1, 2, 3, 6]);
    let next = (1..=3).find(|id| cluster.leader() != Some(*id)).expect("one follows");
    cluster.stop(next);
    cluster.run_until("the third is removed", |cluster| cluster.voters().len() == 3);
    cluster.run_for(1_000); // until all of them know
    let last = cluster.voters()[0];
    cluster.stop(last);
    cluster.run_for(2 * DEAD_AFTER_MS);
    assert_eq!(cluster.voters().len(), 3, "no fewer than three are left");
}

#[test]
fn servers_that_expect_each_other_make_one_cluster_of_all() {
    let mut cluster = Cluster::of_founders(3);
    cluster.run_until("all serve", |cluster| {
        cluster.servers.values().all(|server| server.node.is_serving())
    });
    assert_eq!(cluster.voters(), [1, 2, 3]);
    let ids: BTreeSet<_> =
        cluster.servers.values().map(|server| server.node.status().cluster).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn a_founder_alone_decides_nothing() {
    let mut cluster = Cluster::of_founders(3);
    cluster.run_until("the first has founded a cluster", |cluster| {
        cluster.servers[&NodeId(1)].node.status().cluster.is_some()
    });
    cluster.cut_off(1, true);
    let write = cluster.set(1, "a", "1");
    let outcome = cluster.outcome(1, write);
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    cluster.cut_off(1, false);
    cluster.run_until("all serve", |cluster| {
        cluster.servers.values().all(|server| server.node.is_serving())
    });
}

#[test]
fn five_leave_until_three_are_left_and_the_leader_may_be_among_them() {
    let mut cluster = Cluster::settled(5);
    for _ in 0..2 {
        let leader = cluster.leader().expect("a leader");
        cluster.leave(leader);
        cluster.run_until("it has left", |cluster| {
            cluster.servers[&NodeId(leader)].has_left && cluster.leader().is_some()
        });
        cluster.stop(leader);
    }
    cluster.run_until("three are left", |cluster| cluster.voters().len() == 3);
    cluster.run_for(10_000);
    assert_eq!(cluster.voters().len(), 3, "who left is not let in again");
}

#[test]
fn a_stopping_leader_hands_over_before_it_goes() {
    let mut cluster = Cluster::settled(3);
    let leader = cluster.leader().expect("a leader");
    let term = cluster.server(leader).node.status().term;
    let write = cluster.set(leader, "a", "1");
    cluster.run_for(5);
    cluster.server(leader).node.stop(0);
    cluster
        .run_until("it is drained", |cluster| cluster.servers[&NodeId(leader)].node.is_drained());
    assert!(matches!(cluster.outcome(leader, write), Outcome::Written(_)));
    cluster.run_until("another leads", |cluster| cluster.leader().is_some_and(|id| id != leader));
    assert_eq!(cluster.server(leader).node.status().term.0, term.0 + 1, "one election was enough");
}

#[test]
fn a_server_that_is_told_to_leave_right_after_a_restart_goes_once_it_is_removed() {
    let mut cluster = Cluster::settled(3);
    let follower = follower_of(&cluster);
    cluster.restart(follower);
    // Of its log it has delivered nothing yet, so the configuration it goes by names nobody.
    cluster.leave(follower);
    cluster.run_until("it has left", |cluster| cluster.servers[&NodeId(follower)].has_left);
    assert!(!cluster.voters().contains(&follower), "it left while it still had a vote");
}

#[test]
fn a_server_that_crashed_before_it_heard_of_its_removal_is_told() {
    let mut cluster = Cluster::settled(3);
    let follower = follower_of(&cluster);
    cluster.leave(follower);
    cluster.run_until("it is no voter", |cluster| !cluster.voters().contains(&follower));
    let has_left = cluster.servers[&NodeId(follower)].has_left;
    assert!(!has_left, "it heard of its removal before this test could stop it");
    // It forgets that it asked to leave, and believes that it is a voter.
    cluster.restart(follower);
    cluster.run_until("it has left", |cluster| cluster.servers[&NodeId(follower)].has_left);
    assert!(!cluster.voters().contains(&follower), "an identity serves once");
}
