//! What a client asks the state machine to do, and how a batch of it is written in an entry's body.
//!
//! ```text
//!  +------+---------+-----------+---------+-----------+
//!  | kind | key len | value len | key ... | value ... |      repeated `count` times
//!  +------+---------+-----------+---------+-----------+
//!     u8      u16        u32
//! ```

use bytes::{Buf, BufMut, Bytes};
use thiserror::Error;

use super::{Entry, EntryBuilder, EntryKind};

/// The longest key, in bytes. A key has at least one byte.
pub const MAX_KEY_BYTES: usize = 4 << 10;

/// The longest value, in bytes. A value may be empty.
pub const MAX_VALUE_BYTES: usize = 1 << 20;

const SET: u8 = 1;
const DELETE: u8 = 2;
const COMMAND_HEADER_BYTES: usize = 7;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes `value` the value of `key`.
    Set {
        /// 1 to [`MAX_KEY_BYTES`] bytes.
        key: Bytes,
        /// 0 to [`MAX_VALUE_BYTES`] bytes.
        value: Bytes,
    },
    /// Makes `key` have no value; it need not have had one.
    Delete {
        /// 1 to [`MAX_KEY_BYTES`] bytes.
        key: Bytes,
    },
}

/// Why a body is not a batch of commands.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// A command reaches past the end of the body.
    #[error("a command is cut short")]
    Short,
    /// A kind byte that this version does not know.
    #[error("unknown command kind {0}")]
    Kind(u8),
    /// A key or value outside the limits.
    #[error("a command's key has {key_bytes} bytes and its value {value_bytes}")]
    Size {
        /// The key's length.
        key_bytes: usize,
        /// The value's length.
        value_bytes: usize,
    },
}

impl Command {
    /// The key it writes.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Command::Set { key, .. } | Command::Delete { key } => key,
        }
    }

    /// Its size in an entry's body.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match self {
            Command::Set { key, value } => COMMAND_HEADER_BYTES + key.len() + value.len(),
            Command::Delete { key } => COMMAND_HEADER_BYTES + key.len(),
        }
    }
}

impl EntryBuilder {
    /// Adds a command to a batch. The caller has checked the limits of key and value.
    pub fn push(&mut self, command: &Command) {
        let (kind, key, value) = match command {
            Command::Set { key, value } => (SET, key, value.as_ref()),
            Command::Delete { key } => (DELETE, key, &[][..]),
        };
        assert!(within_limits(key.len(), value.len()), "a command outside the limits was let in");
        let body = self.body_mut();
        body.put_u8(kind);
        body.put_u16_le(key.len() as u16);
        body.put_u32_le(value.len() as u32);
        body.put_slice(key);
        body.put_slice(value);
        self.count_commands(1);
    }

    /// Adds a batch that another server wrote, after reading all of it; returns how many commands
    /// it holds.
    ///
    /// # Errors
    /// When `body` is not a batch of commands; the entry is then as it was.
    pub fn push_encoded(&mut self, body: &Bytes) -> Result<u32, CommandError> {
        let mut count = 0;
        for command in Commands::decode(body.clone()) {
            command?;
            count += 1;
        }
        self.body_mut().put_slice(body);
        self.count_commands(count);
        Ok(count)
    }
}

impl Entry {
    /// The commands of its body, in order; none where the entry is of another kind.
    #[must_use]
    pub fn commands(&self) -> Commands {
        match self.kind() {
            EntryKind::Commands => Commands { rest: self.body() },
            EntryKind::Noop | EntryKind::Configuration => Commands { rest: Bytes::new() },
        }
    }
}

/// Reads the commands of a body one by one, without copying; it ends after the first error.
#[derive(Clone, Debug)]
pub struct Commands {
    rest: Bytes,
}

impl Commands {
    /// Reads a batch that came by itself, as a forwarded one does.
    #[must_use]
    pub fn decode(body: Bytes) -> Commands {
        Commands { rest: body }
    }

    fn read(&mut self) -> Result<Command, CommandError> {
        if self.rest.len() < COMMAND_HEADER_BYTES {
            return Err(CommandError::Short);
        }
        let kind = self.rest.get_u8();
        let key_bytes = self.rest.get_u16_le() as usize;
        let value_bytes = self.rest.get_u32_le() as usize;
        if !within_limits(key_bytes, value_bytes) {
            return Err(CommandError::Size { key_bytes, value_bytes });
        }
        if self.rest.len() < key_bytes + value_bytes {
            return Err(CommandError::Short);
        }
        let key = self.rest.split_to(key_bytes);
        let value = self.rest.split_to(value_bytes);
        match kind {
            SET => Ok(Command::Set { key, value }),
            DELETE if value.is_empty() => Ok(Command::Delete { key }),
            other => Err(CommandError::Kind(other)),
        }
    }
}

impl Iterator for Commands {
    type Item = Result<Command, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let command = self.read();
        if command.is_err() {
            self.rest = Bytes::new();
        }
        Some(command)
    }
}

fn within_limits(key_bytes: usize, value_bytes: usize) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key_bytes) && value_bytes <= MAX_VALUE_BYTES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Index, Term};

    fn any_command() -> impl Strategy<Value = Command> {
        let bytes = |range| proptest::collection::vec(any::<u8>(), range).prop_map(Bytes::from);
        prop_oneof![
            (bytes(1..32), bytes(0..64)).prop_map(|(key, value)| Command::Set { key, value }),
            bytes(1..32).prop_map(|key| Command::Delete { key }),
        ]
    }

    proptest! {
        #[test]
        fn a_batch_reads_back_as_it_was_written(commands in proptest::collection::vec(any_command(), 0..20)) {
            let mut builder = EntryBuilder::new(EntryKind::Commands, 0);
            for command in &commands {
                builder.push(command);
            }
            let entry = builder.seal(Index(9), Term(2));
            prop_assert_eq!(entry.count() as usize, commands.len());
            let read: Result<Vec<_>, _> = entry.commands().collect();
            prop_assert_eq!(read, Ok(commands));
        }

        #[test]
        fn garbage_ends_in_an_error_not_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Commands::decode(Bytes::from(bytes)).count();
        }
    }
}
