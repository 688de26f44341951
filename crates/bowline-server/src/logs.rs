//! Segments of logs, on their way to the disk.
