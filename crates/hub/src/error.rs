//! What goes wrong between here and the Hub, told to the person who meets it. No message holds a token, nor the address
//! of a download, which is signed.

use crate::Digest;
use std::path::PathBuf;
use std::time::Duration;

/// A file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Hub knows no such repository, or does not show it.
    #[error(
        "there is no {repo} at {endpoint}, or it is private\nhint: check the name; {}",
        access(*token, "the token in use may not see it", "for a private repository")
    )]
    Repository {
        /// Kind and name.
        repo: String,
        /// The Hub that was asked.
        endpoint: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The repository is there, the branch, tag or commit is not.
    #[error("{repo} has no revision \"{revision}\"\nhint: give a branch, a tag or a commit of it")]
    Revision {
        /// Kind and name.
        repo: String,
        /// What was asked for.
        revision: String,
    },
    /// The repository is there, the file is not.
    #[error("{repo} has no file {path} at {revision}")]
    Entry {
        /// Kind and name.
        repo: String,
        /// What was asked for.
        path: String,
        /// The commit.
        revision: String,
    },
    /// The repository's owner grants access to those who ask.
    #[error(
        "{repo} is gated: its owner grants access to those who ask\nhint: open {page}, accept the conditions{}",
        if *token { " with the account whose token is in use, and run again" }
        else { ", and set HF_TOKEN to a token of that account (or run `hf auth login`)" }
    )]
    Gated {
        /// Kind and name.
        repo: String,
        /// Where to ask.
        page: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// The server does not accept the token, or wants one.
    #[error(
        "{endpoint} refused access to {what}{}\nhint: {}",
        said(message),
        access(*token, "the token in use is not valid (any more)", "for what is not public")
    )]
    Unauthorized {
        /// The Hub that was asked.
        endpoint: String,
        /// What was asked for.
        what: String,
        /// What the server said.
        message: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// Some other status that asking again would not change.
    #[error("{host} answered {status} to the request for {what}{}{}", said(message), hint_of(*status))]
    Refused {
        /// Who answered.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the server said.
        message: String,
    },
    /// Too many requests, for longer than one waits.
    #[error(
        "{host} asks to wait{}: too many requests\nhint: run again later; a token (HF_TOKEN) raises the limit",
        wait.map(|wait| format!(" {} s", wait.as_secs())).unwrap_or_default()
    )]
    RateLimited {
        /// Who asks.
        host: String,
        /// For how long.
        wait: Option<Duration>,
    },
    /// No answer, or one that broke off or failed, several times.
    #[error(
        "cannot fetch {what} from {host}: {message}\nhint: what has arrived is kept, and the same command goes on from \
         there; --offline works with what is in the cache"
    )]
    Unreachable {
        /// Whom.
        host: String,
        /// What was asked for.
        what: String,
        /// The last failure.
        message: String,
    },
    /// The answer is not what the Hub's interface promises.
    #[error("{endpoint} gave no listing of {what}: {message}\nhint: is HF_ENDPOINT the address of a Hub?")]
    Malformed {
        /// The Hub that was asked.
        endpoint: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// The file's length is not the listed one.
    #[error(
        "{path} of {repo}: {expected} bytes are listed, the server sent {found}{note}\nhint: nothing of it is kept; a \
         mirror or proxy in between may be at fault"
    )]
    Size {
        /// Kind and name.
        repo: String,
        /// The file.
        path: String,
        /// Bytes, as listed.
        expected: u64,
        /// What came, in words.
        found: String,
        /// More about it.
        note: &'static str,
    },
    /// The file's content is not the listed one.
    #[error(
        "{path} of {repo} was sent with other content than is listed: expected {expected}, found {found}\nhint: nothing \
         of it is kept; a mirror or proxy in between may be at fault"
    )]
    Content {
        /// Kind and name.
        repo: String,
        /// The file.
        path: String,
        /// As listed.
        expected: Digest,
        /// As computed.
        found: Digest,
    },
    /// What the server says of the file contradicts the listing.
    #[error(
        "{path} of {repo}: the {what} is {expected} by the listing and {found} by the server\nhint: if the listing comes \
         from a lock file, that was edited or is of another repository; --update makes it anew"
    )]
    Contradiction {
        /// Kind and name.
        repo: String,
        /// The file.
        path: String,
        /// "hash", "size".
        what: &'static str,
        /// As listed.
        expected: String,
        /// As served.
        found: String,
    },
    /// No room.
    #[error(
        "no room for {path}: {needed} bytes more are needed in {}{}\nhint: make room, or move the cache with HF_HUB_CACHE",
        dir.display(),
        free.map(|free| format!(", {free} are free")).unwrap_or_default()
    )]
    DiskFull {
        /// The file.
        path: String,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: Option<u64>,
        /// The folder on the full disk.
        dir: PathBuf,
    },
    /// Not in the cache, and nothing may be asked.
    #[error(
        "{what} is not in the cache {}, and offline nothing is fetched\nhint: run once without --offline (or \
         HF_HUB_OFFLINE), or copy the cache of a machine that has it",
        cache.display()
    )]
    Offline {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The file in the cache is not what it should be, and nothing may be asked.
    #[error(
        "{path} in the cache is damaged: expected {expected}, found {found}\nhint: offline it cannot be fetched again"
    )]
    Damaged {
        /// The blob.
        path: PathBuf,
        /// By its name.
        expected: Digest,
        /// As computed.
        found: Digest,
    },
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// "read", "write", ...
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An environment variable holds nothing usable.
    #[error("{variable} {message}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn access(token: bool, with: &str, without: &str) -> String {
    if token {
        format!("{with}; `hf auth whoami` says whose it is")
    } else {
        format!("{without} set HF_TOKEN, or run `hf auth login`")
    }
}

fn hint_of(status: u16) -> &'static str {
    if status == 407 {
        "\nhint: the proxy wants a password: HTTPS_PROXY=http://user:password@host:port"
    } else {
        ""
    }
}
