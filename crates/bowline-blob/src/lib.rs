//! Content-addressed blobs and log segments on disk.
