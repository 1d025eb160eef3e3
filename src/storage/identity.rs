//! Who this server is, kept from its first start to its last.
//!
//! The payload of the twin record: node id, then cluster id or 0, both u64 little-endian. An id is
//! never zero, so 0 says that the server has not joined a cluster yet.

use super::op::FileName;
use super::twin::TwinKind;
use crate::types::{ClusterId, NodeId};

/// The ids under which this server's data stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random at the first start.
    pub node: NodeId,
    /// The cluster it belongs to, from the moment it founded or joined one; it never changes after.
    pub cluster: Option<ClusterId>,
}

impl Identity {
    pub(super) const FILE: FileName = FileName::Identity;
    pub(super) const KIND: TwinKind = TwinKind::Identity;

    pub(super) fn encode(&self) -> [u8; 16] {
        let cluster = self.cluster.map_or(0, |cluster| cluster.0);
        assert!(self.node.0 != 0 && self.cluster != Some(ClusterId(0)), "an id is never zero");
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.node.0.to_le_bytes());
        payload[8..].copy_from_slice(&cluster.to_le_bytes());
        payload
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Identity> {
        let payload: &[u8; 16] = payload.try_into().ok()?;
        let [node, cluster] = [0, 8].map(|at| {
            u64::from_le_bytes(*payload[at..].first_chunk().expect("sixteen bytes hold two ids"))
        });
        let cluster = (cluster != 0).then_some(ClusterId(cluster));
        (node != 0).then_some(Identity { node: NodeId(node), cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_as_it_was_written() {
        for cluster in [None, Some(ClusterId(7))] {
            let identity = Identity { node: NodeId(3), cluster };
            assert_eq!(Identity::decode(&identity.encode()), Some(identity));
        }
    }

    #[test]
    fn a_nameless_node_or_a_wrong_length_is_refused() {
        assert_eq!(Identity::decode(&[0; 16]), None);
        assert_eq!(Identity::decode(&[1; 15]), None);
        assert_eq!(Identity::decode(&[1; 17]), None);
    }
}
