//! The answer to a list, read item by item.

use bytes::Bytes;
use tonic::Streaming;

use crate::failure::{Error, Failure, Intent};
use crate::options::Options;
use crate::proto::api::GetResponse;

/// One key of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// The revision of the write that made the value.
    pub revision: u64,
}

/// All keys as they were at one position of the log, in no particular order.
///
/// The server sends no faster than [`List::next`] is called. Dropping a list ends it.
#[derive(Debug)]
pub struct List {
    addr: String,
    options: Options,
    first: Option<GetResponse>,
    stream: Option<Streaming<GetResponse>>,
}

impl List {
    /// Waits for the first item, so that a failure before it can still be tried elsewhere.
    pub(crate) async fn start(
        addr: String,
        options: Options,
        mut stream: Streaming<GetResponse>,
    ) -> Result<List, tonic::Status> {
        let first = stream.message().await?;
        let stream = first.is_some().then_some(stream);
        Ok(List { addr, options, first, stream })
    }

    /// The next item; `None` after the last.
    ///
    /// # Errors
    /// When the stream broke or stalled: the items so far are true, but they are not all.
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(item(first)));
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let failure = match tokio::time::timeout(self.options.timeout, stream.message()).await {
            Ok(Ok(Some(message))) => return Ok(Some(item(message))),
            Ok(Ok(None)) => {
                self.stream = None;
                return Ok(None);
            }
            Ok(Err(status)) => Failure::judge(&self.addr, &status),
            Err(_elapsed) => Failure::timed_out(&self.addr),
        };
        self.stream = None;
        Err(failure.into_error(Intent::Read))
    }
}

fn item(message: GetResponse) -> Item {
    Item { key: message.key, value: message.value, revision: message.revision }
}
