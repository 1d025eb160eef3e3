//! Streaming a frozen view of the map to a client.

use super::view::ViewReader;
use crate::rpc::grpc::{ListItem, ListSender};
use crate::storage::SnapshotItem;

/// Sends the whole view, as fast as the client takes it, until it is done or the client is gone.
pub(super) async fn send_all(reader: &ViewReader, client: &ListSender) {
    while let Some(page) = reader.next_page().await {
        let items = page.into_iter().map(list_item).collect();
        if client.send(Ok(items)).await.is_err() {
            return;
        }
    }
}

fn list_item(item: SnapshotItem) -> ListItem {
    ListItem { key: item.key, value: item.value, revision: item.revision.0 }
}
