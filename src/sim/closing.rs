//! The end of a run: what must come right once things stop going wrong.
//!
//! ```text
//!   faults ... | a core heals, the rest stays broken | all heals  | calm           | last reads
//!              |   it commits within 10 election     |  all agree |  nothing stirs | the history
//!              |   timeouts, and finds the dead      |            |  the leader    | is checked
//! ```
//!
//! Safety alone is easily had by doing nothing. So after the faults only as many servers are healed
//! as decide together; the others stay down, cut off, or half connected so that they disturb. The
//! core must elect and commit soon. Then all is healed, and the cluster must become one again: all
//! voters up to date, nobody held for dead who lives, no learner forgotten.

mod calm;
mod core;
mod whole;

use super::checker;
use super::history::{Call, Key, OperationId, Return};
use super::violation::{Property, Violation};
use super::world::World;

/// The last reads are answered within this time, in µs.
const READ_US: u64 = 20_000_000;

/// Brings a run to its end.
pub(super) fn close(world: &mut World) -> Result<(), Violation> {
    world.workload.stop(world.now_us);
    let core = core::recovers(world)?;
    core::finds_the_dead(world, &core)?;
    whole::heal(world);
    whole::agrees(world)?;
    calm::leader_stays(world)?;
    whole::agrees(world)?;
    calm::nobody_is_blamed(world)?;
    whole::agrees(world)?;
    calm::transfer_is_given_up(world)?;
    read_all(world)?;
    checker::check(world.workload.history()).map_err(|found| Violation {
        property: Property::Linearizability,
        detail: found.to_string(),
    })
}

/// Everything is read once more, everywhere: an acknowledged write that is lost shows here.
fn read_all(world: &mut World) -> Result<(), Violation> {
    let mut asked = Vec::new();
    for host in 0..world.hosts.len() {
        if world.hosts[host].is_retired {
            continue;
        }
        let keys = (0..world.plan.keys).map(|key| Call::Get { key: Key(key) });
        for call in keys.chain([Call::List]).collect::<Vec<_>>() {
            let client = world.workload.add_client();
            asked.push(world.ask(client, call, host));
        }
    }
    world.run_for(READ_US)?;
    let is_open = |id: &&OperationId| {
        !matches!(world.workload.answer_of(**id), Some(Return::Read(_) | Return::Listed(_)))
    };
    match asked.iter().find(is_open) {
        None => Ok(()),
        Some(_) => Err(Violation {
            property: Property::Liveness,
            detail: "a healed cluster does not answer all reads".to_owned(),
        }),
    }
}
