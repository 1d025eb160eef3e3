//! This node's own probes: SWIM's failure detector (§3.1) in round-robin order (§4.3).
//!
//! ```text
//!   |<----------------------- one period ----------------------->|
//!   | ping target                                                |
//!   |------------------> ack? -----------------------------------| good, the rest of the period idle
//!   |         timeout: k others are asked to ping it             |
//!   |                 |----------> ack? -------------------------| good
//!   |                 |            nack: the helper is well, it  | no ack: the target is a suspect
//!   |                 |            hears nothing either          |
//! ```
//!
//! Every live member is probed once in a pass over a shuffled list, so the time until a crash is
//! first noticed is bounded by twice the length of the list.

use std::collections::BTreeSet;

use crate::prng::Prng;
use crate::types::NodeId;

use super::table::MAX_MEMBERS;

/// Whose turn it is, and the probe under way.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    /// This pass, of at most [`MAX_MEMBERS`]. It may name members that are no longer live, and it
    /// names nobody twice.
    pass: Vec<NodeId>,
    /// How many of `pass` had their turn.
    done: usize,
    period_ends_ms: u64,
    probe: Option<Probe>,
}

#[derive(Clone, Debug)]
struct Probe {
    seq: u32,
    target: Target,
    stage: Stage,
}

/// Who is probed, at the incarnation that was known when the probe began: if the target has moved
/// or refuted since, the failure of this probe says nothing about what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) id: NodeId,
    pub(super) incarnation: u64,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The target itself may still answer in time.
    Direct { until_ms: u64 },
    /// Others were asked. `silent` are those that sent neither an ack nor a nack.
    Indirect { helpers: BTreeSet<NodeId>, silent: BTreeSet<NodeId> },
}

/// A probe that was not answered within its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) target: Target,
    /// How many helpers did not even say that they failed too.
    pub(super) missing_nacks: usize,
}

impl Prober {
    /// The first period begins at `first_ms`.
    pub(super) fn new(first_ms: u64) -> Prober {
        Prober { pass: Vec::new(), done: 0, period_ends_ms: first_ms, probe: None }
    }

    /// When there is something to do: ask for help, or end the period.
    pub(super) fn deadline_ms(&self) -> u64 {
        let help_ms = self.probe.as_ref().and_then(Probe::direct_until_ms);
        help_ms.map_or(self.period_ends_ms, |help_ms| help_ms.min(self.period_ends_ms))
    }

    pub(super) fn is_period_over(&self, now_ms: u64) -> bool {
        now_ms >= self.period_ends_ms
    }

    /// The member whose turn it is among those that are live; nobody if there is none.
    pub(super) fn next_target(
        &mut self,
        live: impl Fn() -> Vec<NodeId>,
        is_live: impl Fn(NodeId) -> bool,
        prng: &mut Prng,
    ) -> Option<NodeId> {
        while let Some(&candidate) = self.pass.get(self.done) {
            self.done += 1;
            if is_live(candidate) {
                return Some(candidate);
            }
        }
        self.pass = live();
        prng.shuffle(&mut self.pass);
        self.done = self.pass.len().min(1);
        self.pass.first().copied()
    }

    /// Gives a new member a place in this pass, at random (§4.3). In a pass that is full of members
    /// that have come and gone, it has to wait for the next.
    pub(super) fn insert(&mut self, id: NodeId, prng: &mut Prng) {
        if self.pass.contains(&id) || self.pass.len() >= MAX_MEMBERS {
            return;
        }
        let at = prng.below(self.pass.len() as u64 + 1) as usize;
        self.pass.insert(at, id);
        if at < self.done {
            self.done += 1;
        }
    }

    /// Starts a period, with a probe if there is somebody to probe.
    pub(super) fn begin(
        &mut self,
        probe: Option<(u32, Target)>,
        now_ms: u64,
        timeout_ms: u64,
        period_ms: u64,
    ) {
        self.period_ends_ms = now_ms + period_ms;
        let stage = Stage::Direct { until_ms: now_ms + timeout_ms };
        self.probe = probe.map(|(seq, target)| Probe { seq, target, stage });
    }

    /// The probe whose target did not answer directly in time, if that is so now.
    pub(super) fn needs_help(&self, now_ms: u64) -> Option<(u32, NodeId)> {
        let probe = self.probe.as_ref()?;
        (probe.direct_until_ms()? <= now_ms).then_some((probe.seq, probe.target.id))
    }

    /// `helpers` were asked to probe for us.
    pub(super) fn asked(&mut self, helpers: BTreeSet<NodeId>) {
        if let Some(probe) = &mut self.probe {
            probe.stage = Stage::Indirect { silent: helpers.clone(), helpers };
        }
    }

    /// Takes an ack; says whether it ended the probe.
    pub(super) fn ack(&mut self, seq: u32, sender: NodeId) -> bool {
        let answered = self.probe.as_ref().is_some_and(|probe| {
            probe.seq == seq
                && match &probe.stage {
                    Stage::Direct { .. } => probe.target.id == sender,
                    Stage::Indirect { helpers, .. } => {
                        probe.target.id == sender || helpers.contains(&sender)
                    }
                }
        });
        if answered {
            self.probe = None;
        }
        answered
    }

    /// Takes a helper's word that it heard nothing either.
    pub(super) fn nack(&mut self, seq: u32, sender: NodeId) {
        if let Some(Probe { seq: own, stage: Stage::Indirect { silent, .. }, .. }) = &mut self.probe
            && *own == seq
        {
            silent.remove(&sender);
        }
    }

    /// Ends the period: the probe that was still open has failed.
    pub(super) fn conclude(&mut self) -> Option<Failure> {
        let Probe { target, stage, .. } = self.probe.take()?;
        let missing_nacks = match stage {
            Stage::Direct { .. } => 0,
            Stage::Indirect { silent, .. } => silent.len(),
        };
        Some(Failure { target, missing_nacks })
    }

    /// Makes every deadline later.
    pub(super) fn postpone(&mut self, by_ms: u64) {
        self.period_ends_ms += by_ms;
        if let Some(Probe { stage: Stage::Direct { until_ms }, .. }) = &mut self.probe {
            *until_ms += by_ms;
        }
    }
}

impl Probe {
    fn direct_until_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Direct { until_ms } => Some(until_ms),
            Stage::Indirect { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target { id: NodeId(1), incarnation: 5 };

    fn ids(range: std::ops::Range<u64>) -> Vec<NodeId> {
        range.map(NodeId).collect()
    }

    #[test]
    fn each_pass_probes_everybody_once() {
        let (mut prober, mut prng) = (Prober::new(0), Prng::new(3));
        for _ in 0..5 {
            let mut pass: Vec<NodeId> = (0..4)
                .map(|_| prober.next_target(|| ids(1..5), |_| true, &mut prng).expect("somebody"))
                .collect();
            pass.sort();
            assert_eq!(pass, ids(1..5));
        }
    }

    #[test]
    fn a_member_that_died_since_is_passed_over() {
        let (mut prober, mut prng) = (Prober::new(0), Prng::new(3));
        let first = prober.next_target(|| ids(1..4), |_| true, &mut prng).expect("somebody");
        let gone = prober.pass[1];
        let next = prober.next_target(|| ids(1..4), |id| id != gone, &mut prng).expect("somebody");
        assert!(next != first && next != gone);
    }

    #[test]
    fn a_newcomer_does_not_make_anybody_lose_a_turn_or_get_two() {
        for seed in 0..50 {
            let (mut prober, mut prng) = (Prober::new(0), Prng::new(seed));
            let mut turns = Vec::new();
            for turn in 0..8 {
                if turn == 3 {
                    prober.insert(NodeId(100), &mut prng);
                    prober.insert(NodeId(100), &mut prng);
                }
                if prober.done < prober.pass.len() || turn == 0 {
                    turns.extend(prober.next_target(|| ids(1..7), |_| true, &mut prng));
                }
            }
            turns.retain(|id| *id != NodeId(100));
            turns.sort();
            assert_eq!(turns, ids(1..7), "seed {seed}");
        }
    }

    #[test]
    fn only_the_target_and_the_helpers_can_answer() {
        let mut prober = Prober::new(0);
        let begin = |prober: &mut Prober| prober.begin(Some((7, TARGET)), 0, 200, 500);
        begin(&mut prober);
        assert!(!prober.ack(8, NodeId(1)), "another probe's number");
        assert!(!prober.ack(7, NodeId(2)), "nobody was asked to help");
        assert_eq!(prober.needs_help(199), None);
        assert_eq!(prober.needs_help(200), Some((7, NodeId(1))));
        prober.asked(BTreeSet::from([NodeId(2), NodeId(3)]));
        assert!(!prober.ack(7, NodeId(4)), "not a helper");
        prober.nack(7, NodeId(3));
        prober.nack(7, NodeId(4));
        let failure = Failure { target: TARGET, missing_nacks: 1 };
        assert_eq!(prober.clone().conclude(), Some(failure));
        assert!(prober.ack(7, NodeId(2)));
        assert_eq!(prober.conclude(), None);
    }
}
