//! The client of mökv.
