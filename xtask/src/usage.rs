//! The error of a wrong command line, which clap cannot see.

/// Flags that do not go together, or that name something that does not exist. The exit code is 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
