//! The `mokv` program.

fn main() {}
