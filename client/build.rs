//! Generates the client's half of the two services from the contract in `proto/`, without protoc.

use std::error::Error;
use std::path::Path;

const PROTO_ROOT: &str = "../proto";
const PROTO_FILES: [&str; 2] = ["kv.proto", "mokv/v1/admin.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in PROTO_FILES {
        println!("cargo::rerun-if-changed={}", Path::new(PROTO_ROOT).join(file).display());
    }
    let descriptors = protox::compile(PROTO_FILES, [PROTO_ROOT])?;
    tonic_prost_build::configure()
        .bytes(".")
        // The tests play the cluster's part; users of the crate never do.
        .server_mod_attribute(".", "#[cfg(test)]")
        .compile_fds(descriptors)?;
    Ok(())
}
