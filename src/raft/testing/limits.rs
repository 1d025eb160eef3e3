//! What happens when something is full, and what the driver must not do.

use bytes::Bytes;

use super::cluster::{batch, configuration, default_config};
use crate::raft::{
    ChangeError, Config, MAX_COMMITTED_BYTES, MAX_PENDING_READS, MAX_UNSETTLED_BYTES, Message,
    Position, ProposeError, Raft, ReadError, ReadyNumber, Recovered, RoleName,
};
use crate::types::{Entry, HardState, Index, NodeId, SnapshotMeta, Term};

const ENTRY_BYTES: usize = 1 << 20;

/// A server of a cluster of these voters that knows nothing but that.
fn started(id: u64, voters: &[u64]) -> Raft {
    let configuration = configuration(voters, &[]);
    let snapshot = SnapshotMeta { configuration, ..SnapshotMeta::default() };
    let config = Config { id: NodeId(id), ..default_config() };
    Raft::new(config, Recovered { snapshot, ..Recovered::default() }, 0)
}

/// The leader of a cluster of one, with nothing left to do.
fn sole_leader() -> Raft {
    let mut raft = started(1, &[1]);
    raft.tick(0);
    while let Some(ready) = raft.ready() {
        raft.persisted(ready.number, 0);
    }
    assert_eq!(raft.status().role, RoleName::Leader);
    raft
}

/// The leader of a cluster of two, elected by 2, who then fell silent.
fn lonely_leader() -> Raft {
    let mut raft = started(1, &[1, 2]);
    raft.tick(raft.next_deadline_ms());
    let now_ms = raft.next_deadline_ms() - 1;
    raft.step(NodeId(2), Message::PreVoteReply { term: Term(1), granted: true }, now_ms);
    let campaign = raft.ready().expect("it campaigns");
    raft.persisted(campaign.number, now_ms);
    raft.step(NodeId(2), Message::VoteReply { term: Term(1), granted: true }, now_ms);
    assert_eq!(raft.status().role, RoleName::Leader);
    raft
}

#[test]
fn proposals_are_refused_when_too_much_is_unsettled() {
    let mut raft = lonely_leader();
    let taken = (0..).take_while(|_| raft.propose(batch(ENTRY_BYTES)).is_ok()).count();
    assert_eq!(taken, MAX_UNSETTLED_BYTES / ENTRY_BYTES - 1, "each is a little over a MiB");
    assert_eq!(raft.propose(batch(ENTRY_BYTES)), Err(ProposeError::Full));
}

#[test]
fn proposals_are_taken_again_when_they_are_durable_here_and_committed() {
    let mut raft = lonely_leader();
    while raft.propose(batch(ENTRY_BYTES)).is_ok() {}
    let ready = raft.ready().expect("entries to write");
    let last = raft.status().last_index;
    let now_ms = raft.next_deadline_ms();
    raft.step(NodeId(2), Message::Appended { term: Term(1), match_index: last }, now_ms);
    assert_eq!(raft.propose(batch(ENTRY_BYTES)), Err(ProposeError::Full));
    raft.persisted(ready.number, now_ms);
    assert_eq!(raft.status().commit, last);
    assert_eq!(raft.propose(batch(ENTRY_BYTES)), Ok(last.next()));
}

#[test]
fn reads_are_refused_when_too_many_wait() {
    let mut raft = lonely_leader();
    for context in 0..MAX_PENDING_READS as u64 {
        assert_eq!(raft.read_index(context, 0), Ok(()));
    }
    assert_eq!(raft.read_index(u64::MAX, 0), Err(ReadError::Full));
}

#[test]
fn reads_do_not_postpone_the_next_tick() {
    let mut raft = lonely_leader();
    let deadline_ms = raft.next_deadline_ms();
    raft.read_index(1, deadline_ms - 1).expect("there is room");
    let _ = raft.ready();
    assert_eq!(raft.next_deadline_ms(), deadline_ms);
}

#[test]
fn a_server_that_loads_a_snapshot_neither_appends_nor_campaigns() {
    let mut raft = started(1, &[1, 2, 3]);
    let (term, leader) = (Term(1), NodeId(2));
    let meta = Box::new(SnapshotMeta { index: Index(5), term, ..SnapshotMeta::default() });
    let chunk =
        Message::SnapshotChunk { term, meta, offset: 0, data: Bytes::from("file"), last: true };
    raft.step(leader, chunk, 0);
    let ready = raft.ready().expect("a part to write");
    raft.persisted(ready.number, 0);
    let prev = Position::default();
    let entries = vec![Entry::noop(Index(1), term)];
    raft.step(leader, Message::Append { term, prev, commit: Index(1), entries }, 0);
    raft.tick(raft.next_deadline_ms());
    assert_eq!(raft.ready(), None);
    assert_eq!(raft.status().last_index, Index(0));
    raft.snapshot_rejected(raft.next_deadline_ms());
    raft.tick(raft.next_deadline_ms());
    assert_eq!(raft.status().role, RoleName::PreCandidate);
}

#[test]
fn a_lot_of_committed_entries_comes_in_several_readys() {
    let mut raft = sole_leader();
    let count = 2 * MAX_COMMITTED_BYTES / ENTRY_BYTES;
    for _ in 0..count {
        raft.propose(batch(ENTRY_BYTES)).expect("there is room");
    }
    let mut applied = Vec::new();
    while let Some(ready) = raft.ready() {
        let bytes: usize = ready.committed.iter().map(Entry::len_bytes).sum();
        assert!(bytes <= MAX_COMMITTED_BYTES, "{bytes} bytes in one Ready");
        applied.extend(ready.committed.iter().map(Entry::index));
        raft.persisted(ready.number, 0);
    }
    let expected: Vec<Index> = (2..2 + count as u64).map(Index).collect();
    assert_eq!(applied, expected);
}

#[test]
fn nothing_to_do_is_no_ready() {
    let mut raft = sole_leader();
    assert_eq!(raft.ready(), None);
}

#[test]
fn a_follower_refuses_what_only_a_leader_does() {
    let mut raft = started(1, &[1, 2, 3]);
    let not_leader = ProposeError::NotLeader { leader: None };
    assert_eq!(raft.propose(batch(0)), Err(not_leader));
    let change = raft.propose_configuration(configuration(&[1], &[]));
    assert_eq!(change, Err(ChangeError::NotLeader { leader: None }));
    assert_eq!(raft.read_index(1, 0), Err(ReadError::NoLeader));
}

#[test]
fn a_term_that_only_the_log_remembers_is_entered_and_made_durable() {
    let hard_state = HardState { term: Term(2), vote: Some(NodeId(3)) };
    let entries = vec![Entry::noop(Index(1), Term(4))];
    let recovered = Recovered { hard_state, entries, ..Recovered::default() };
    let mut raft = Raft::new(default_config(), recovered, 0);
    let expected = HardState { term: Term(4), vote: None };
    assert_eq!(raft.ready().and_then(|ready| ready.hard_state), Some(expected));
}

#[test]
fn a_log_that_conflicts_with_its_snapshot_is_dropped() {
    let snapshot = SnapshotMeta { index: Index(2), term: Term(5), ..SnapshotMeta::default() };
    let entries = (1..=4).map(|index| Entry::noop(Index(index), Term(3))).collect();
    let recovered = Recovered { snapshot, entries, ..Recovered::default() };
    let raft = Raft::new(default_config(), recovered, 0);
    assert_eq!(raft.status().last_index, Index(2));
}

#[test]
#[should_panic(expected = "the log would have a gap")]
fn a_gap_behind_the_snapshot_is_never_accepted() {
    let recovered =
        Recovered { entries: vec![Entry::noop(Index(2), Term(1))], ..Recovered::default() };
    let _ = Raft::new(default_config(), recovered, 0);
}

#[test]
#[should_panic(expected = "never taken")]
fn a_ready_that_was_never_taken_cannot_be_durable() {
    started(1, &[1, 2]).persisted(ReadyNumber(1), 0);
}

#[test]
#[should_panic(expected = "cannot hold more than")]
fn a_snapshot_of_what_was_not_applied_is_never_accepted() {
    let meta = SnapshotMeta { index: Index(9), ..SnapshotMeta::default() };
    sole_leader().compact(meta, Index(1));
}
