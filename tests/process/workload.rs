//! Writers that never write a key twice, and what can be proven from that.
//!
//! Every try writes a key of its own. The revision that the cluster gives to a write counts all
//! writes that were ever applied. So at the end, whatever crashed in between:
//!
//! - each acknowledged key is listed, with its value and the revision of its acknowledgement: no
//!   acknowledged write is lost, and none was applied a second time later;
//! - no key is listed whose write was refused: a refusal is the truth;
//! - every other listed key is one whose outcome was unknown: nothing comes from nowhere;
//! - the revisions of the listed keys are exactly 1 to n, and n is the revision that every member
//!   reports: had any write, acknowledged or not, been applied twice, its first revision would be
//!   missing from the list;
//! - all members list the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mokv_client::{Client, Error};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::poll::{self, ensure};
use crate::wire;

/// The time in which a cluster under load makes the progress a test waits for.
const PROGRESS_LIMIT: Duration = Duration::from_secs(30);
/// What a writer waits after a failure, so that it does not spin.
const FAILED_PAUSE: Duration = Duration::from_millis(5);

/// What became of the writes so far.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The revision of each acknowledged write.
    acked: BTreeMap<String, u64>,
    /// Writes that may or may not have happened.
    unknown: BTreeSet<String>,
    /// Writes that did not happen.
    refused: BTreeSet<String>,
    /// Answers that no writer should get.
    faults: Vec<String>,
    /// A moment, and when a write that began after it was first acknowledged.
    resumed: Option<(Instant, Option<Instant>)>,
}

/// Writers in the background of a test.
#[derive(Debug)]
pub(crate) struct Writers {
    ledger: Arc<Mutex<Ledger>>,
    stopping: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts `count` writers, each with one write in flight at any time. `label` must be another
    /// in each call on the same cluster, because no key may be written twice.
    pub(crate) fn start(
        ledger: &Arc<Mutex<Ledger>>,
        client: &Client,
        label: &str,
        count: usize,
    ) -> Writers {
        let stopping = Arc::new(AtomicBool::new(false));
        let tasks = (0..count).map(|writer| {
            let (ledger, client, stopping) = (ledger.clone(), client.clone(), stopping.clone());
            let prefix = format!("{label}-{writer}");
            let mut keys = (0u64..).map(move |number| format!("{prefix}-{number}"));
            tokio::spawn(async move {
                while !stopping.load(Ordering::Relaxed) {
                    let key = keys.next().expect("there is always another number");
                    write_once(&ledger, &client, key).await;
                }
            })
        });
        let tasks = tasks.collect();
        Writers { ledger: ledger.clone(), stopping, tasks }
    }

    /// Waits until `count` more writes have been acknowledged.
    pub(crate) async fn wait_for_acks(&self, count: usize) {
        let start = self.lock().acked.len();
        poll::until(&format!("{count} more writes"), PROGRESS_LIMIT, async || {
            let acked = self.lock().acked.len() - start;
            ensure(acked >= count, format!("{acked} were acknowledged"))
        })
        .await;
    }

    /// How long after `moment` a write was acknowledged that had begun after it.
    pub(crate) async fn time_to_resume(&self, moment: Instant) -> Duration {
        self.lock().resumed = Some((moment, None));
        poll::until("writes resume", PROGRESS_LIMIT, async || {
            let resumed = self.lock().resumed;
            let ended = resumed.and_then(|(_, ended)| ended).ok_or("no write was acknowledged")?;
            Ok::<_, &str>(ended - moment)
        })
        .await
    }

    /// Lets every writer finish the write it is at.
    pub(crate) async fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no writer panics");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panics with the ledger")
    }
}

async fn write_once(ledger: &Mutex<Ledger>, client: &Client, key: String) {
    let began = Instant::now();
    let answer = client.set(key.clone(), value_of(&key)).await;
    let failed = answer.is_err();
    ledger.lock().expect("nobody panics with the ledger").note(key, answer, began);
    if failed {
        tokio::time::sleep(FAILED_PAUSE).await;
    }
}

/// What every write of `key` writes.
pub(crate) fn value_of(key: &str) -> Bytes {
    Bytes::from(format!("the value of {key}"))
}

/// Holds every running member of a cluster that nobody writes to against the ledger.
pub(crate) async fn verify(ledger: &Mutex<Ledger>, cluster: &Cluster) {
    // Taken out for the time of the check, which waits; with no writer left, nobody misses it.
    let held = std::mem::take(&mut *ledger.lock().expect("nobody panics with the ledger"));
    held.verify(cluster).await;
    let (acked, unknown, refused) = (held.acked.len(), held.unknown.len(), held.refused.len());
    println!(
        "{acked} writes acknowledged, {unknown} unknown, {refused} refused: all as they should"
    );
    *ledger.lock().expect("nobody panics with the ledger") = held;
}

impl Ledger {
    fn note(&mut self, key: String, answer: Result<u64, Error>, began: Instant) {
        match answer {
            Ok(revision) => {
                self.acked.insert(key, revision);
                if let Some((moment, first @ None)) = &mut self.resumed
                    && began > *moment
                {
                    *first = Some(Instant::now());
                }
            }
            Err(Error::OutcomeUnknown { .. }) => {
                self.unknown.insert(key);
            }
            Err(Error::Unavailable { .. }) => {
                self.refused.insert(key);
            }
            Err(other) => self.faults.push(format!("{key}: {other:?}")),
        }
    }

    /// A key that certainly has a value.
    pub(crate) fn any_acked(&self) -> String {
        self.acked.keys().next().expect("some write was acknowledged").clone()
    }

    async fn verify(&self, cluster: &Cluster) {
        assert!(self.faults.is_empty(), "writes ended in other ways: {:?}", self.faults);
        // A write whose outcome is unknown may still be on its way when the first member lists.
        let items = poll::until("all members list the same", PROGRESS_LIMIT, async || {
            let mut lists = Vec::new();
            for number in cluster.running() {
                lists.push((number, wire::list(&cluster.nodes[number].rpc_addr).await?));
            }
            let (_, first) = lists.pop().expect("some member runs");
            let other = lists.iter().find(|(_, items)| *items != first);
            ensure(other.is_none(), format!("node-{:?} differs", other.map(|(number, _)| number)))?;
            Ok::<_, String>(first)
        })
        .await;
        self.check(&items);
        for number in cluster.running() {
            let status = cluster.status(number).await.expect("a member that lists knows its state");
            assert_eq!(status.revision, items.len() as u64, "revision and writes of node-{number}");
        }
    }

    fn check(&self, items: &wire::Items) {
        for (key, revision) in &self.acked {
            let expected = (value_of(key), *revision);
            assert_eq!(items.get(key), Some(&expected), "{key} was acknowledged");
        }
        for key in items.keys() {
            assert!(!self.refused.contains(key), "{key} was refused, and there it is");
            let written = self.acked.contains_key(key) || self.unknown.contains(key);
            assert!(written, "{key} was never written");
        }
        let revisions: BTreeSet<u64> = items.values().map(|(_, revision)| *revision).collect();
        let whole = revisions.iter().copied().eq(1..=items.len() as u64);
        assert!(whole, "a revision is missing: some write was applied twice");
    }
}
