//! Identities and counters, each its own type so that the compiler keeps them apart.

use std::fmt;

/// How many slots the key space is divided into; a key's slot never changes.
pub const SLOT_COUNT: u16 = 4096;

/// A server's identity: random, made at its first start, kept in its data directory. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A cluster's identity: random, made once by the server that bootstrapped it. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

/// A Raft term: a logical clock that numbers elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A position in the Raft log; the first entry has index 1, and 0 stands before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// How many commands had been applied when a write took effect; the first write has revision 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// One of the [`SLOT_COUNT`] parts of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Index {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }

    /// The position before this one; the position before 0 is 0.
    #[must_use]
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl Slot {
    /// The slot that owns `key`. It depends on the key's bytes alone, so it is the same on every
    /// server, in every version and after every restart.
    #[must_use]
    pub fn of(key: &[u8]) -> Slot {
        const MASK: u32 = SLOT_COUNT as u32 - 1;
        const { assert!(SLOT_COUNT.is_power_of_two()) }
        Slot((crc32fast::hash(key) & MASK) as u16)
    }
}

macro_rules! display_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_hex!(NodeId, ClusterId);
display_number!(Term, Index, Revision, Slot);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_stable_across_versions() {
        assert_eq!(Slot::of(b""), Slot(0));
        assert_eq!(Slot::of(b"greeting"), Slot((crc32fast::hash(b"greeting") % 4096) as u16));
        assert_eq!(Slot::of(b"123456789"), Slot((0xcbf4_3926_u32 % 4096) as u16));
    }

    #[test]
    fn ids_print_as_sixteen_hex_digits() {
        assert_eq!(NodeId(0xab).to_string(), "00000000000000ab");
        assert_eq!(format!("{:?}", ClusterId(1)), "ClusterId(0000000000000001)");
    }
}
