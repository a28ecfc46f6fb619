//! Requests: redirects, the token, time limits, further attempts, and what a refusal means.

use crate::settings::{Settings, Token};
use crate::{Error, Repo, Watch};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::{HeaderMap, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// So often is something tried that brings nothing new.
const ATTEMPTS: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longer than this nobody waits for a server that asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How soon an interrupt is noticed.
const TICK: Duration = Duration::from_millis(50);
const REDIRECTS: usize = 10;
const CHUNK: usize = 1 << 18;

/// Asks the Hub, and whom it sends one to.
#[derive(Clone)]
pub(crate) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<Token>,
    timeout: Duration,
}

/// What a request is about: for messages.
pub(crate) struct Asked<'a> {
    pub repo: &'a Repo,
    pub revision: &'a str,
    pub path: Option<&'a str>,
}

/// An answer of any status but a redirect.
pub(crate) struct Answer {
    pub head: Head,
    body: Receiver<Event>,
}

/// What comes before the body.
pub(crate) struct Head {
    pub status: u16,
    /// Who answered in the end.
    pub host: String,
    /// Whether that was the endpoint itself.
    pub endpoint: bool,
    pub headers: HeaderMap,
    /// What the endpoint said of the file before it sent one elsewhere. Only it speaks of the file; the ETag of a storage server
    /// looks like a hash of the content and is none.
    pub linked_etag: Option<String>,
    pub linked_size: Option<u64>,
}

/// Why there is no (whole) answer.
pub(crate) struct Failure {
    pub message: String,
    pub host: String,
    /// Another attempt may fare better.
    pub again: bool,
    /// So long the server asks to wait.
    pub wait: Option<Duration>,
    /// There were too many requests.
    pub limited: bool,
}

enum Event {
    Head(Head),
    Data(Vec<u8>),
    End,
    Failed(Failure),
}

impl Client {
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let timeout = Some(settings.timeout);
        let mut tls = TlsConfig::builder();
        if let Some(path) = &settings.certificates {
            let pem = std::fs::read(path).map_err(Error::io("read", path))?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(certificates(path, &pem)?)));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // They are followed here, because the token must not be sent along and the first answer says what is served.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("resect/", env!("CARGO_PKG_VERSION")))
            // Sizes and ranges are those of the file, so nobody may compress it on the way.
            .accept_encoding("identity")
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_send_request(timeout)
            .timeout_recv_response(timeout)
            .timeout_per_read(timeout)
            .tls_config(tls.build())
            .build();
        Ok(Self {
            agent: config.new_agent(),
            endpoint: settings.endpoint.clone(),
            token: settings.token.clone(),
            timeout: settings.timeout,
        })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Asks for an address at the endpoint, from a byte on. The transfer runs on a thread of its own, so that an interrupt need
    /// not wait for a server that says nothing.
    pub fn get(&self, url: &str, from: u64, watch: &dyn Watch) -> Result<Result<Answer, Failure>, Error> {
        let (sender, body) = sync_channel(4);
        let (client, url) = (self.clone(), url.to_owned());
        std::thread::spawn(move || client.transfer(&url, from, &sender));
        Ok(match next(&body, watch)? {
            Event::Head(head) => Ok(Answer { head, body }),
            Event::Failed(failure) => Err(failure),
            Event::Data(_) | Event::End => Err(broken(&self.endpoint)),
        })
    }

    /// Sends events until the answer is over or nobody listens any more.
    fn transfer(&self, url: &str, from: u64, to: &SyncSender<Event>) {
        let (head, mut body) = match self.follow(url, from) {
            Ok(answer) => answer,
            Err(failure) => return drop(to.send(Event::Failed(failure))),
        };
        let host = head.host.clone();
        if to.send(Event::Head(head)).is_err() {
            return;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let event = match body.read(&mut chunk) {
                Ok(0) => Event::End,
                Ok(n) => Event::Data(chunk[..n].to_vec()),
                Err(error) => Event::Failed(self.failure(&host, ureq::Error::from(error))),
            };
            let last = !matches!(event, Event::Data(_));
            if to.send(event).is_err() || last {
                return;
            }
        }
    }

    /// Follows redirects to an answer. The token goes to the endpoint's host alone.
    fn follow(&self, url: &str, from: u64) -> Result<(Head, impl Read + use<>), Failure> {
        let mut uri: Uri = url.parse().map_err(|_| self.bad_address(&self.endpoint))?;
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..=REDIRECTS {
            let endpoint = same_origin(&uri, &self.endpoint);
            let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
            let mut request = self.agent.get(uri.clone());
            if let Some(token) = self.token.as_ref().filter(|_| endpoint) {
                request = request.header(header::AUTHORIZATION, token.header());
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|error| self.failure(&host, error))?;
            let (parts, body) = answer.into_parts();
            if endpoint {
                let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
                linked_etag = linked_etag.or_else(|| text("x-linked-etag").map(plain_etag));
                linked_size =
                    linked_size.or_else(|| text("x-linked-size").and_then(|size| size.parse().ok()));
            }
            let status = parts.status.as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                let head = Head { status, host, endpoint, headers: parts.headers, linked_etag, linked_size };
                return Ok((head, body.into_with_config().limit(u64::MAX).reader()));
            }
            let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            uri =
                location.and_then(|location| join(&uri, location)).ok_or_else(|| self.bad_address(&host))?;
        }
        Err(Failure { again: false, ..self.failed(&self.endpoint, "it redirects without end".into()) })
    }

    fn failed(&self, host: &str, message: String) -> Failure {
        Failure { message, host: host.to_owned(), again: true, wait: None, limited: false }
    }

    fn bad_address(&self, host: &str) -> Failure {
        Failure { again: false, ..self.failed(host, "it redirects to something that is no address".into()) }
    }

    /// A failure of the connection, in words that name no address: that may be signed.
    fn failure(&self, host: &str, error: ureq::Error) -> Failure {
        let certificates = "; SSL_CERT_FILE names further certificates to trust";
        let (message, again) = match error {
            ureq::Error::Timeout(_) => {
                (format!("nothing came within {} s", self.timeout.as_secs_f64()), true)
            }
            ureq::Error::HostNotFound => ("the host is not known here".into(), true),
            ureq::Error::Rustls(error) => (format!("{error}{certificates}"), false),
            ureq::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::InvalidData => (format!("{error}{certificates}"), false),
                std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                    (format!("nothing came within {} s", self.timeout.as_secs_f64()), true)
                }
                std::io::ErrorKind::UnexpectedEof => ("the connection was cut".into(), true),
                _ => (error.to_string(), true),
            },
            ureq::Error::BadUri(_) => return self.bad_address(host),
            other => (other.to_string(), true),
        };
        Failure { again, ..self.failed(host, message) }
    }

    /// What an answer means that is not what was asked for: an error to end with, or a failure to try again after.
    pub fn refusal(&self, answer: Answer, asked: &Asked, watch: &dyn Watch) -> Result<Failure, Error> {
        let Head { status, host, endpoint, headers, .. } = &answer.head;
        let (status, host, endpoint) = (*status, host.clone(), *endpoint);
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let code = text("x-error-code").to_owned();
        let mut message = text("x-error-message").to_owned();
        let wait = text("retry-after").trim().parse().ok().map(Duration::from_secs);
        if message.is_empty() {
            message = answer.error_text(watch)?;
        }
        let message = self.token.as_ref().map_or(message.clone(), |token| token.scrub(&message));
        let (repo, token) = (asked.repo.to_string(), self.token.is_some());
        if status == 429 {
            if wait.is_some_and(|wait| wait > LONGEST_WAIT) {
                return Err(Error::RateLimited { host, wait });
            }
            return Ok(Failure { wait, limited: true, ..self.failed(&host, "too many requests".into()) });
        }
        // A storage server that refuses a signed address: it has run out, and the endpoint gives a new one.
        if status >= 500
            || matches!(status, 408 | 425)
            || (!endpoint && matches!(status, 401 | 403 | 404 | 410))
        {
            let wait = wait.map(|wait| wait.min(LONGEST_WAIT));
            return Ok(Failure { wait, ..self.failed(&host, format!("it answered {status}")) });
        }
        let what = match asked.path {
            Some(path) => format!("{path} of {repo}"),
            None => repo.clone(),
        };
        let unknown_token = token || message.to_lowercase().contains("invalid credentials");
        Err(match (status, code.as_str()) {
            (401 | 403, "GatedRepo") => {
                let page = format!("{}/{}", self.endpoint, asked.repo.at("main").url());
                Error::Gated { repo, page, token }
            }
            (_, "RevisionNotFound") => Error::Revision { repo, revision: asked.revision.to_owned() },
            (_, "EntryNotFound") => Error::Entry {
                repo,
                path: asked.path.unwrap_or_default().to_owned(),
                revision: asked.revision.to_owned(),
            },
            (401 | 404, "RepoNotFound") => Error::Repository { repo, endpoint: self.endpoint.clone(), token },
            // The Hub tells somebody without a token no more than this of a repository that may be private.
            (401, "") if !unknown_token => Error::Repository { repo, endpoint: self.endpoint.clone(), token },
            (401 | 403, _) => Error::Unauthorized { endpoint: self.endpoint.clone(), what, message, token },
            _ => Error::Refused { host, what, status, message },
        })
    }
}

fn next(body: &Receiver<Event>, watch: &dyn Watch) -> Result<Event, Error> {
    loop {
        match body.recv_timeout(TICK) {
            _ if watch.interrupted() => return Err(Error::Interrupted),
            Ok(event) => return Ok(event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(Event::Failed(broken(""))),
        }
    }
}

fn broken(host: &str) -> Failure {
    let message = "the transfer broke off".into();
    Failure { message, host: host.to_owned(), again: true, wait: None, limited: false }
}

impl Answer {
    /// The next bytes; none at the end.
    pub fn next(&self, watch: &dyn Watch) -> Result<Result<Option<Vec<u8>>, Failure>, Error> {
        Ok(match next(&self.body, watch)? {
            Event::Data(data) => Ok(Some(data)),
            Event::Failed(failure) => Err(Failure { host: self.head.host.clone(), ..failure }),
            Event::Head(_) | Event::End => Ok(None),
        })
    }

    /// A whole answer of at most `limit` bytes.
    pub fn whole(&self, limit: usize, watch: &dyn Watch) -> Result<Result<Vec<u8>, Failure>, Error> {
        let mut whole = Vec::new();
        loop {
            match self.next(watch)? {
                Ok(Some(data)) => whole.extend_from_slice(&data),
                Ok(None) => return Ok(Ok(whole)),
                Err(failure) => return Ok(Err(failure)),
            }
            if whole.len() > limit {
                let message = format!("the answer is longer than {limit} bytes");
                return Ok(Err(Failure { message, again: false, ..broken(&self.head.host) }));
            }
        }
    }

    /// What an error's body says, on one line, cut to what fits a message.
    fn error_text(&self, watch: &dyn Watch) -> Result<String, Error> {
        let Ok(body) = self.whole(1 << 16, watch)? else { return Ok(String::new()) };
        let Ok(json) = serde_json::from_slice::<serde_json::Value>(&body) else { return Ok(String::new()) };
        let text =
            json["error"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(text.chars().take(300).collect())
    }

    pub fn content_length(&self) -> Option<u64> {
        self.head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The first byte of a part, and the length of the whole where it is said.
    pub fn content_range(&self) -> Option<(u64, Option<u64>)> {
        content_range(self.head.headers.get(header::CONTENT_RANGE)?.to_str().ok()?)
    }
}

/// The certificates of a file in PEM; keys beside them are left alone.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<Certificate<'static>>, Error> {
    let wrong = |message: String| Error::Setting {
        variable: "SSL_CERT_FILE",
        message: format!("or REQUESTS_CA_BUNDLE names {}, which {message}", path.display()),
    };
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        let item = item.map_err(|error| wrong(format!("cannot be read as PEM: {error}")))?;
        if let PemItem::Certificate(certificate) = item {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("holds no certificate in PEM".into()));
    }
    Ok(certificates)
}

fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (part, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split_once('-')?.0.parse().ok()?, whole.parse().ok()))
}

/// Reads a header's text as each of those that count: for `fuzz/`.
#[doc(hidden)]
pub fn read_header(endpoint: &str, text: &str) {
    let _ = (plain_etag(text), content_range(text));
    if let Some(uri) = endpoint.parse().ok().and_then(|base| join(&base, text)) {
        same_origin(&uri, endpoint);
    }
}

/// Counts attempts and waits between them.
pub(crate) struct Attempts {
    failed: u32,
}

impl Attempts {
    pub fn new() -> Self {
        Self { failed: 0 }
    }

    /// Something new arrived: what failed before counts no more.
    pub fn progress(&mut self) {
        self.failed = 0;
    }

    /// Waits before another attempt at `what`.
    ///
    /// # Errors
    /// When there is none, or an interrupt.
    pub fn wait(&mut self, what: &str, failure: Failure, watch: &mut dyn Watch) -> Result<(), Error> {
        self.failed += 1;
        let Failure { message, host, again, wait, limited } = failure;
        if !again || self.failed >= ATTEMPTS {
            return Err(match limited {
                true => Error::RateLimited { host, wait },
                false => Error::Unreachable { host, what: what.to_owned(), message },
            });
        }
        let pause = wait.unwrap_or_else(|| backoff(self.failed));
        let next = self.failed + 1;
        watch.note(&format!(
            "{what}: {host}: {message}; again in {:.1} s (attempt {next} of {ATTEMPTS})",
            pause.as_secs_f64()
        ));
        let end = Instant::now() + pause;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if watch.interrupted() {
                return Err(Error::Interrupted);
            }
            std::thread::sleep(left.min(TICK));
        }
        Ok(())
    }
}

/// Twice as long each time, and up to a quarter more or less, so that many who were cut off together do not come back together.
fn backoff(failed: u32) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(failed) as f64 / u64::MAX as f64;
    FIRST_WAIT.mul_f64(f64::from(1u32 << (failed - 1).min(10)) * (0.75 + 0.5 * random))
}

/// An ETag without quotes and without the mark of a weak one.
pub(crate) fn plain_etag(etag: &str) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

fn same_origin(uri: &Uri, endpoint: &str) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
        (scheme, uri.host().unwrap_or_default().to_lowercase(), port)
    };
    endpoint.parse::<Uri>().is_ok_and(|endpoint| origin(&endpoint) == origin(uri))
}

/// The address a redirect means.
fn join(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let absolute = match location {
        _ if location.starts_with("http://") || location.starts_with("https://") => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    };
    let uri: Uri = absolute.split('#').next()?.parse().ok()?;
    uri.host().is_some().then_some(uri)
}

#[cfg(test)]
mod tests;
