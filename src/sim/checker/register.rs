//! Wing & Gong's search for an order of one register's operations, with Lowe's improvements.
//!
//! The calls and answers stand in a doubly linked list in the order of time. A step that is called
//! before the first answer in the list may be the next to take effect; it is then lifted out, its
//! answer with it. If the list becomes empty, an order is found. If the first answer belongs to a step
//! that does not fit, the last choice is undone.
//!
//! ```text
//!   list     call a   call b   answer b   call c   answer a   answer c
//!            |------ may be next ------|
//!                              ^ the frontier: all that was answered before it has its place
//!
//!   choose b:  call a   call c   answer a   answer c         frontier moves to answer a
//! ```
//!
//! - No configuration is searched twice (Lowe 2017): it is the frontier, the steps that have
//!   their place though their answers lie beyond it, and the value.
//! - As no value is written twice, a value is never overwritten while a read of it has no place yet;
//!   and a read that fits takes its place at once, for later it could do no better.
//! - The log says in what order writes took effect, so that is tried first. A linearizable history is
//!   then searched with hardly a step back; the verdict is the same in any order.
//! - Deletes of unknown fate are spent one by one on reads of nothing (`projection.rs`). Having spent
//!   fewer is better.
//!
//! Sources: Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for
//! linearizability" (2017); Horn and Kroening, "Faster linearizability checking" (2015), for the list.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::sim::history::Value;

use super::projection::{Effect, Projection};

/// The most configurations that the search of one key remembers before it gives up.
pub(super) const MAX_CONFIGURATIONS: usize = 200_000;

/// What a search found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Stuck {
        /// The step whose answer no order gets past.
        step: usize,
    },
    /// There were more configurations than the limit.
    GaveUp,
}

/// Looks for an order of a key's steps, remembering at most `max_configurations`.
pub(super) fn search(projection: &Projection, max_configurations: usize) -> Verdict {
    Search::new(projection).run(max_configurations)
}

/// A call or an answer of a step.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Call(usize),
    Answer(usize),
}

struct Search<'a> {
    projection: &'a Projection,
    /// In the order of time; at equal times calls come first, as the operations may have overlapped.
    entries: Vec<Entry>,
    /// The entries that are still in the list; the one past the last entry is its head.
    list: LinkedList,
    /// Of every step, where its call and its answer stand.
    places: Vec<(usize, usize)>,
    /// Of every step, a range of `open`.
    open_ranges: Vec<Range<usize>>,
    /// The steps that were called before the answer of a step and answered after it.
    open: Vec<usize>,
    /// Of every value, the reads of it that have no place yet.
    unread: BTreeMap<Value, usize>,
    /// What was searched, with the fewest deletes spent.
    seen: BTreeMap<Configuration, usize>,
    /// The entry of the farthest answer at the frontier.
    farthest: usize,
}

/// All that decides whether the rest can be ordered, but for the number of deletes spent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    frontier: usize,
    /// The steps with a place whose answers lie beyond the frontier.
    ahead: Vec<usize>,
    value: Option<Value>,
}

/// The register after some steps.
#[derive(Clone, Copy)]
struct State {
    value: Option<Value>,
    deletes_spent: usize,
}

/// One place in the order that is being tried.
struct Choice {
    /// What was lifted to come here: a step that was chosen, and the reads that then fitted.
    lifted: Vec<usize>,
    /// The register here.
    state: State,
    /// The steps that may follow, the one to try first at the end.
    candidates: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(projection: &'a Projection) -> Search<'a> {
        let steps = &projection.steps;
        let mut moments = Vec::with_capacity(2 * steps.len());
        for (at, step) in steps.iter().enumerate() {
            moments.push((step.called_us, false, at));
            moments.push((step.answered_us, true, at));
        }
        moments.sort_unstable();
        let mut places = vec![(0, 0); steps.len()];
        let mut open = Vec::new();
        let mut open_ranges = vec![0..0; steps.len()];
        let mut now_open: Vec<usize> = Vec::new();
        let mut entries = Vec::with_capacity(moments.len());
        for (place, (_, is_answer, step)) in moments.into_iter().enumerate() {
            if is_answer {
                places[step].1 = place;
                now_open.retain(|other| *other != step);
                open_ranges[step] = open.len()..open.len() + now_open.len();
                open.extend_from_slice(&now_open);
                entries.push(Entry::Answer(step));
            } else {
                places[step].0 = place;
                now_open.push(step);
                entries.push(Entry::Call(step));
            }
        }
        let mut unread = BTreeMap::new();
        for step in steps {
            if let Effect::Read(Some(value)) = step.effect {
                *unread.entry(value).or_insert(0) += 1;
            }
        }
        let list = LinkedList::of(entries.len());
        let seen = BTreeMap::new();
        Search { projection, entries, list, places, open_ranges, open, unread, seen, farthest: 0 }
    }

    fn run(mut self, max_configurations: usize) -> Verdict {
        let mut trail = vec![self.choice(Vec::new(), State { value: None, deletes_spent: 0 })];
        while let Some(choice) = trail.last_mut() {
            if self.list.is_empty() {
                return Verdict::Linearizable;
            }
            if self.seen.len() > max_configurations {
                return Verdict::GaveUp;
            }
            let state = choice.state;
            let Some(step) = choice.candidates.pop() else {
                let undone = trail.pop().expect("it was looked at").lifted;
                undone.into_iter().rev().for_each(|step| self.put_back(step));
                continue;
            };
            let after = self.after(step, state);
            self.lift(step);
            if self.is_new(after) {
                trail.push(self.choice(vec![step], after));
            } else {
                self.put_back(step);
            }
        }
        match self.entries.get(self.farthest) {
            Some(Entry::Answer(step) | Entry::Call(step)) => Verdict::Stuck { step: *step },
            None => unreachable!("a search that is stuck has entries"),
        }
    }

    /// The register after a candidate.
    fn after(&self, step: usize, state: State) -> State {
        match self.projection.steps[step].effect {
            Effect::Write { after, .. } => State { value: after, ..state },
            Effect::Read(found) if found == state.value => state,
            Effect::Read(found) => State { value: found, deletes_spent: state.deletes_spent + 1 },
        }
    }

    /// The place after `lifted` and all reads that now fit, with what may follow.
    fn choice(&mut self, mut lifted: Vec<usize>, state: State) -> Choice {
        let (callable, frontier) = self.lift_reads_of(state.value, &mut lifted);
        self.farthest = self.farthest.max(frontier.unwrap_or(0));
        let steps = &self.projection.steps;
        let is_unread =
            state.value.is_some_and(|value| self.unread.get(&value).is_some_and(|n| *n > 0));
        let (Some(frontier), false) = (frontier, is_unread) else {
            return Choice { lifted, state, candidates: Vec::new() };
        };
        let Entry::Answer(urgent) = self.entries[frontier] else {
            unreachable!("the frontier is an answer");
        };
        let frontier_us = steps[urgent].answered_us;
        let deletes_us = &self.projection.unknown_deletes_us;
        let deletes = deletes_us.partition_point(|called_us| *called_us <= frontier_us);
        let may_delete = state.deletes_spent < deletes;
        let mut candidates: Vec<_> = callable
            .into_iter()
            .filter_map(|step| match steps[step].effect {
                Effect::Write { revision, .. } => Some((1, revision.0, step)),
                Effect::Read(None) if may_delete && step == urgent => Some((0, 0, step)),
                Effect::Read(None) if may_delete => Some((2, 0, step)),
                Effect::Read(_) => None,
            })
            .collect();
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        let candidates = candidates.into_iter().map(|(_, _, step)| step).collect();
        Choice { lifted, state, candidates }
    }

    /// Lifts the reads of `value` that were called before the first answer in the list, as long as
    /// there are any. Gives the steps that are left there, and that answer's entry.
    fn lift_reads_of(
        &mut self,
        value: Option<Value>,
        lifted: &mut Vec<usize>,
    ) -> (Vec<usize>, Option<usize>) {
        let mut callable = Vec::new();
        let mut next = self.list.first();
        while let Some(entry) = next {
            match self.entries[entry] {
                Entry::Call(step) => {
                    if self.projection.steps[step].effect == Effect::Read(value) {
                        self.lift(step);
                        lifted.push(step);
                    } else {
                        callable.push(step);
                    }
                    next = self.list.after(entry);
                }
                Entry::Answer(_) => return (callable, Some(entry)),
            }
        }
        (callable, None)
    }

    /// Notes the configuration that was reached; false if it has been searched at no greater cost.
    fn is_new(&mut self, state: State) -> bool {
        let mut entries = std::iter::successors(self.list.first(), |at| self.list.after(*at));
        let first_answer = entries.find_map(|entry| match self.entries[entry] {
            Entry::Call(_) => None,
            Entry::Answer(step) => Some((entry, step)),
        });
        let Some((frontier, step)) = first_answer else { return true };
        let has_place = |step: &&usize| !self.list.holds(self.places[**step].0);
        let open = &self.open[self.open_ranges[step].clone()];
        let ahead = open.iter().filter(has_place).copied().collect();
        let configuration = Configuration { frontier, ahead, value: state.value };
        let spent = self.seen.entry(configuration).or_insert(usize::MAX);
        let is_new = state.deletes_spent < *spent;
        *spent = state.deletes_spent.min(*spent);
        is_new
    }

    fn lift(&mut self, step: usize) {
        let (call, answer) = self.places[step];
        self.list.lift(answer);
        self.list.lift(call);
        self.count_unread(step, |unread| unread - 1);
    }

    fn put_back(&mut self, step: usize) {
        let (call, answer) = self.places[step];
        self.list.put_back(call);
        self.list.put_back(answer);
        self.count_unread(step, |unread| unread + 1);
    }

    fn count_unread(&mut self, step: usize, change: fn(usize) -> usize) {
        if let Effect::Read(Some(value)) = self.projection.steps[step].effect {
            let unread = self.unread.get_mut(&value).expect("all reads were counted");
            *unread = change(*unread);
        }
    }
}

/// The numbers below a length in ascending order, of which any can be lifted out, and put back in the
/// reverse order (Knuth's dancing links).
struct LinkedList {
    /// The number after each; of the head, which is the length, the first.
    next: Vec<usize>,
    /// The number before each; of the head, the last.
    previous: Vec<usize>,
    is_lifted: Vec<bool>,
}

impl LinkedList {
    fn of(length: usize) -> LinkedList {
        let next = (0..=length).map(|at| if at == length { 0 } else { at + 1 }).collect();
        let previous = (0..=length).map(|at| if at == 0 { length } else { at - 1 }).collect();
        LinkedList { next, previous, is_lifted: vec![false; length] }
    }

    fn head(&self) -> usize {
        self.is_lifted.len()
    }

    fn is_empty(&self) -> bool {
        self.next[self.head()] == self.head()
    }

    fn holds(&self, at: usize) -> bool {
        !self.is_lifted[at]
    }

    fn first(&self) -> Option<usize> {
        self.after(self.head())
    }

    /// The number after `at`; of one that was lifted last, the number that was after it.
    fn after(&self, at: usize) -> Option<usize> {
        Some(self.next[at]).filter(|next| *next != self.head())
    }

    fn lift(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
        self.is_lifted[at] = true;
    }

    fn put_back(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
        self.is_lifted[at] = false;
    }
}
