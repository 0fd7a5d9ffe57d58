//! What is acknowledged is on disk.
