//! No queue grows over its limit: what finds no room is refused, and told so.

use crate::node::Node;
use crate::types::NodeId;

pub(super) fn stepped(id: NodeId, node: &Node) -> Result<(), String> {
    match node.queue_over_limit() {
        None => Ok(()),
        Some(queue) => Err(format!("{id} holds more {queue} than it may")),
    }
}
