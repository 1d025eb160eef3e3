//! There is one cluster: a server that lost its disk, the one that bootstraps included, never makes
//! a second one while the first can be reached.

use crate::types::{ClusterId, NodeId};

/// The cluster that the first server entered.
#[derive(Debug, Default)]
pub(super) struct OneCluster {
    first: Option<(NodeId, ClusterId)>,
}

impl OneCluster {
    pub(super) fn exists(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn enters(&mut self, id: NodeId, cluster: ClusterId) -> Result<(), String> {
        let (first, known) = *self.first.get_or_insert((id, cluster));
        if known == cluster {
            Ok(())
        } else {
            Err(format!("{id} entered {cluster}, and {first} before it {known}"))
        }
    }
}
