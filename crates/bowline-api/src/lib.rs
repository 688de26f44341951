//! The REST documents that server and client share.
