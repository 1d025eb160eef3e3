//! The promise of the room, tried at every step: what was acknowledged is read back after any
//! crash, and what was superseded is not.

use super::model::Model;
use super::server::{Event, Server, Wreck, live_through};
use crate::prng::Prng;

#[test]
fn a_crash_at_any_op_loses_nothing_acknowledged_and_brings_nothing_superseded_back() {
    let mut crash_at = 0;
    loop {
        let mut finished = false;
        for seed in 0..8 {
            match live_through(seed, crash_at) {
                Err(wreck) => live_on_after(*wreck),
                Ok(server) => {
                    finished = true;
                    live_on_after(server.crash());
                }
            }
        }
        if finished {
            break;
        }
        crash_at += 1;
    }
    assert!(crash_at > 150, "the history has only {crash_at} ops");
}

/// Recovers, and shows that the recovered server can go on and crash again.
fn live_on_after(wreck: Wreck) {
    let Some(mut server) = wreck.recover() else { return };
    for (at, size) in [100, 9000, 9000].into_iter().enumerate() {
        let first = server.model.last() + 1;
        let append = Event::Append { first, term: 90 + at as u64, sizes: vec![size] };
        server.live(&append).unwrap_or_else(|_| panic!("no crash was planned"));
    }
    let model = server.model.clone();
    let server = server.crash().recover().expect("a server with a history");
    assert_eq!(server.model, model);
}

/// An event that can happen to a server in this state.
fn any_event(model: &Model, prng: &mut Prng) -> Event {
    let term = model.hard_state.term.0.max(1);
    let (snapshot, last) = (model.snapshot.0, model.last());
    match prng.below(12) {
        0 => Event::Vote { term: term + 1 },
        1 => Event::Spare,
        2 => Event::Join,
        3 if last > snapshot => {
            let index = snapshot + 1 + prng.below(last - snapshot);
            let term = model.term_at(index).expect("the log holds what follows the snapshot");
            Event::Snapshot { index, term }
        }
        4 | 5 => Event::Truncate { first_retained: snapshot + 1 - prng.below(snapshot.min(3) + 1) },
        6 => Event::Install { index: snapshot + 1 + prng.below(12), term },
        _ => {
            let conflict = prng.below(4) == 0;
            let after = if conflict { snapshot + prng.below(last - snapshot + 1) } else { last };
            let count = 1 + prng.below(4);
            let sizes = (0..count).map(|_| [1, 200, 3000, 9000, 15_000][prng.below(5) as usize]);
            Event::Append {
                first: after + 1,
                term: term + u64::from(conflict),
                sizes: sizes.collect(),
            }
        }
    }
}

#[test]
fn random_histories_survive_crash_after_crash() {
    for seed in 0..150 {
        let mut prng = Prng::new(seed);
        let Ok(mut server) = Server::start(seed, u64::MAX) else { panic!("no crash was planned") };
        for _ in 0..6 {
            server.ops_left = prng.below(80);
            let wreck = loop {
                let event = any_event(&server.model, &mut prng);
                if let Err(wreck) = server.live(&event) {
                    break wreck;
                }
            };
            server = wreck.recover().expect("a server with an identity");
        }
    }
}
