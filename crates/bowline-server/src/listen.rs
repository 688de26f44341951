//! One port for gRPC and HTTP.
