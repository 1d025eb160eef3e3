//! What prost and tonic generate from `proto/`.
#![allow(missing_docs, unreachable_pub, clippy::all)]

pub(crate) mod api {
    tonic::include_proto!("api");
}

pub(crate) mod v1 {
    tonic::include_proto!("mokv.v1");
}

pub(crate) mod health {
    tonic::include_proto!("grpc.health.v1");
}

pub(crate) mod rpc {
    tonic::include_proto!("google.rpc");
}
