//! Generates the client's half of the services from the contract in `proto/`, without protoc.

use std::error::Error;

use tonic_prost_build::Config;

const PROTO_ROOT: &str = "../proto";
const PROTO_FILES: [&str; 5] = [
    "kv.proto",
    "mokv/v1/admin.proto",
    "grpc/health/v1/health.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let descriptors = protox::compile(PROTO_FILES, [PROTO_ROOT])?;
    let mut config = Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        // The tests play the cluster's part; users of the crate never do.
        .server_mod_attribute(".", "#[cfg(test)]")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
