//! Small histories whose verdicts a reader can see.

use std::collections::BTreeMap;

use crate::sim::checker::{Kind, Violation, check};
use crate::sim::history::{Call, History, Key, Operation, Return, Value};
use crate::types::Revision;

const K: Key = Key(1);
const L: Key = Key(2);

/// A history written as `(call, from, until, answer)`, in any order; each has a client of its own.
fn history(operations: &[(Call, u64, u64, Return)]) -> History {
    let mut operations: Vec<_> = (0..)
        .zip(operations)
        .map(|(client, (call, invoked_us, until_us, answer))| Operation {
            client,
            call: *call,
            invoked_us: *invoked_us,
            returned: Some((*until_us, answer.clone())),
        })
        .collect();
    operations.sort_by_key(|operation| operation.invoked_us);
    History { operations }
}

fn rejected(operations: &[(Call, u64, u64, Return)]) -> Violation {
    check(&history(operations)).expect_err("it is not linearizable")
}

fn accepted(operations: &[(Call, u64, u64, Return)]) {
    if let Err(violation) = check(&history(operations)) {
        panic!("{violation}");
    }
}

fn set(key: Key, value: u64) -> Call {
    Call::Set { key, value: Value(value) }
}

fn delete(key: Key) -> Call {
    Call::Delete { key }
}

fn get(key: Key) -> Call {
    Call::Get { key }
}

fn stale(key: Key) -> Call {
    Call::StaleGet { key }
}

fn written(revision: u64) -> Return {
    Return::Written(Revision(revision))
}

fn found(value: u64, revision: u64) -> Return {
    Return::Read(Some((Value(value), Revision(revision))))
}

fn nothing() -> Return {
    Return::Read(None)
}

fn listed(entries: &[(Key, u64, u64)]) -> Return {
    let entries = entries.iter();
    let entries = entries.map(|(key, value, at)| (*key, (Value(*value), Revision(*at))));
    Return::Listed(entries.collect::<BTreeMap<_, _>>())
}

#[test]
fn the_empty_history_is_right() {
    accepted(&[]);
}

#[test]
fn a_read_during_a_write_may_find_either_value() {
    let writes = [(set(K, 1), 0, 1, written(1)), (set(K, 2), 10, 20, written(2))];
    let [first, second] = writes;
    accepted(&[first.clone(), second.clone(), (get(K), 12, 14, found(1, 1))]);
    accepted(&[first, second, (get(K), 12, 14, found(2, 2))]);
}

#[test]
fn two_reads_during_a_write_may_not_go_back() {
    let violation = rejected(&[
        (set(K, 1), 0, 1, written(1)),
        (set(K, 2), 10, 20, written(2)),
        (get(K), 12, 13, found(2, 2)),
        (get(K), 14, 15, found(1, 1)),
    ]);
    let shown = "real time: revision 1 was read after revision 2, overwritten
  client 0: set k1 = v1, 0..1 us: revision 1
  client 1: set k1 = v2, 10..20 us: revision 2
  client 2: get k1, 12..13 us: v2 of revision 2
  client 3: get k1, 14..15 us: v1 of revision 1";
    assert_eq!(violation.to_string(), shown);
}

#[test]
fn what_touches_in_time_may_have_overlapped() {
    accepted(&[(set(K, 1), 0, 10, written(1)), (get(K), 10, 12, nothing())]);
    rejected(&[(set(K, 1), 0, 10, written(1)), (get(K), 11, 12, nothing())]);
}

#[test]
fn revisions_follow_real_time_across_keys() {
    let violation = rejected(&[(set(K, 1), 0, 1, written(2)), (set(L, 2), 5, 6, written(1))]);
    assert_eq!(violation.kind, Kind::RealTime);
}

#[test]
fn a_write_that_was_not_answered_may_be_found_late_or_never() {
    let lost = (set(K, 1), 0, 5, Return::Unknown);
    accepted(&[lost.clone(), (get(K), 10, 11, nothing()), (get(K), 20, 21, found(1, 1))]);
    accepted(&[lost.clone(), (get(K), 10, 11, nothing()), (set(L, 2), 20, 21, written(1))]);
    let back = [lost, (get(K), 10, 11, found(1, 1)), (get(K), 20, 21, nothing())];
    assert_eq!(rejected(&back).kind, Kind::RealTime);
}

#[test]
fn one_lost_delete_explains_one_disappearance() {
    let operations = [
        (set(K, 1), 0, 1, written(1)),
        (delete(K), 2, 3, Return::Unknown),
        (get(K), 10, 11, nothing()),
        (set(K, 2), 20, 21, written(3)),
        (get(K), 30, 31, nothing()),
    ];
    accepted(&operations[..4]);
    let violation = rejected(&operations);
    assert_eq!(violation.kind, Kind::Register(K));
    assert!(violation.explanation.ends_with("1 deletes of unknown fate considered"), "{violation}");
}

#[test]
fn a_lost_delete_that_was_called_later_explains_nothing() {
    let violation = rejected(&[
        (set(K, 1), 0, 1, written(1)),
        (get(K), 10, 11, nothing()),
        (delete(K), 12, 13, Return::Unknown),
    ]);
    assert_eq!(violation.kind, Kind::RealTime);
}

#[test]
fn a_write_that_took_effect_twice_leaves_a_gap_that_no_write_fits() {
    let twice = [(set(K, 1), 0, 1, written(1)), (set(K, 2), 10, 11, written(3))];
    let lost_before = [twice[0].clone(), (set(L, 9), 2, 3, Return::Unknown), twice[1].clone()];
    let lost_after = [twice[0].clone(), twice[1].clone(), (set(L, 9), 12, 13, Return::Unknown)];
    assert_eq!(rejected(&twice).kind, Kind::Numbering);
    assert_eq!(rejected(&lost_after).kind, Kind::Numbering);
    accepted(&lost_before);
}

#[test]
fn a_lost_write_does_not_fit_where_its_key_was_seen_unchanged() {
    let violation = rejected(&[
        (set(K, 1), 0, 1, written(1)),
        (set(K, 2), 2, 3, Return::Unknown),
        (set(L, 3), 4, 5, written(3)),
        (get(K), 10, 11, found(1, 1)),
    ]);
    assert_eq!(violation.kind, Kind::Numbering);
}

#[test]
fn a_delete_of_a_missing_key_has_a_revision_too() {
    accepted(&[
        (delete(K), 0, 1, written(1)),
        (delete(K), 2, 3, written(2)),
        (set(K, 1), 4, 5, written(3)),
        (get(K), 6, 7, found(1, 3)),
    ]);
}

#[test]
fn a_list_is_one_moment_on_all_keys() {
    let writes = [
        (set(K, 1), 0, 1, written(1)),
        (set(L, 2), 2, 3, written(2)),
        (set(K, 3), 10, 20, written(3)),
        (set(L, 4), 10, 20, written(4)),
    ];
    let with = |list: Return| [&writes[..], &[(Call::List, 12, 18, list)]].concat();
    accepted(&with(listed(&[(K, 1, 1), (L, 2, 2)])));
    accepted(&with(listed(&[(K, 3, 3), (L, 2, 2)])));
    accepted(&with(listed(&[(K, 3, 3), (L, 4, 4)])));
    // Each key alone might have been so, but the second write came after the first.
    assert_eq!(rejected(&with(listed(&[(K, 1, 1), (L, 4, 4)]))).kind, Kind::List);
    assert_eq!(rejected(&with(listed(&[(K, 1, 1)]))).kind, Kind::List);
}

#[test]
fn a_stale_read_may_be_old_but_not_invented() {
    let writes = [
        (set(K, 1), 0, 1, written(1)),
        (set(K, 2), 2, 3, written(2)),
        (set(K, 3), 4, 5, Return::NotDone),
        (set(K, 4), 20, 21, written(3)),
    ];
    let with = |read: Return| [&writes[..], &[(stale(K), 10, 11, read)]].concat();
    accepted(&with(nothing()));
    accepted(&with(found(1, 1)));
    accepted(&with(found(2, 2)));
    assert_eq!(rejected(&with(found(1, 2))).kind, Kind::Numbering);
    assert_eq!(rejected(&with(found(3, 3))).kind, Kind::Phantom);
    assert_eq!(rejected(&with(found(4, 3))).kind, Kind::Phantom);
    assert_eq!(rejected(&with(found(5, 3))).kind, Kind::Phantom);
}

#[test]
fn what_a_stale_read_found_was_committed_for_all_that_follows() {
    let violation = rejected(&[
        (set(K, 1), 0, 50, written(1)),
        (stale(K), 10, 11, found(1, 1)),
        (get(K), 20, 21, nothing()),
    ]);
    assert_eq!(violation.kind, Kind::RealTime);
}

#[test]
fn a_contradiction_is_shown_without_what_does_not_matter() {
    let mut operations = vec![(delete(K), 0, 1, Return::Unknown)];
    for at in 1..100 {
        operations.push((set(K, at), 10 * at, 10 * at + 1, written(at)));
        operations.push((get(K), 10 * at + 2, 10 * at + 3, found(at, at)));
    }
    // Both of these are to come from the one delete.
    operations.push((get(K), 2000, 2001, nothing()));
    operations.push((set(K, 200), 3000, 3001, written(101)));
    operations.push((get(K), 4000, 4001, nothing()));
    let violation = rejected(&operations);
    assert_eq!(violation.kind, Kind::Register(K));
    assert!(violation.operations.len() <= 5, "{violation}");
}
