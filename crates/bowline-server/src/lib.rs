//! Sessions, REST API and authentication around the leader.
