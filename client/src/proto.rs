//! What prost and tonic generate from `proto/`.
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub(crate) mod api {
    tonic::include_proto!("api");
}

pub(crate) mod v1 {
    tonic::include_proto!("mokv.v1");
}
