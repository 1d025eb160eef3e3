//! A leader steps down once a configuration without it is committed (Raft §6, "Cluster membership
//! changes"): until then it leads and does not count itself.

use crate::raft::Outline;
use crate::types::{Configuration, NodeId};

/// `id` leads, and this configuration is in force.
pub(super) fn leads(
    id: NodeId,
    outline: Outline,
    configuration: &Configuration,
) -> Result<(), String> {
    if configuration.is_voter(id) || outline.configuration_index > outline.commit {
        Ok(())
    } else {
        let index = outline.configuration_index;
        Err(format!("{id} leads on after its removal was committed at {index}"))
    }
}
