//! Compiles `proto/` without protoc: Rust types for the server, and the descriptors that gRPC
//! reflection serves.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost_build::Config;
use protox::Compiler;
use protox::prost::Message;

const PROTO_ROOT: &str = "proto";

/// Every file whose services or messages the server uses; their imports come along.
const PROTO_FILES: [&str; 7] = [
    "kv.proto",
    "mokv/v1/admin.proto",
    "grpc/health/v1/health.proto",
    "grpc/reflection/v1/reflection.proto",
    "grpc/reflection/v1alpha/reflection.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={PROTO_ROOT}");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = Compiler::new([PROTO_ROOT])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTO_FILES)?;
    // Rust types keep the comments of the proto files; the served descriptors do without.
    let mut descriptors = compiler.file_descriptor_set();
    let mut config = Config::new();
    config
        .bytes(["."])
        .btree_map(["."])
        .include_file("proto.rs")
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
