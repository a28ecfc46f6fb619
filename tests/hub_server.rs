//! A Hub on the loopback, as its interface is documented: the API's listings, `resolve` with its redirects and headers, and a
//! storage server on another host name that knows nothing of repositories and wants no token.
//!
//! - A file in git: 307 to a relative `/api/resolve-cache/...`, then the content with its git blob SHA-1 as ETag.
//! - A file in LFS or Xet storage: 302 to a signed absolute address elsewhere, with `X-Linked-Etag` (SHA-256), `X-Linked-Size`
//!   and `X-Xet-Hash`. The ETag of the storage server is another hash. `raw` gives the pointer that lies in git.
//! - Refusals carry `X-Error-Code` and `X-Error-Message`.
//!
//! It also misbehaves, where a test asks for it, and remembers every request.

use sha1::{Digest, Sha1};
use sha2::Sha256;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The token that the server knows.
pub const TOKEN: &str = "hf_TheTokenOfTheTests";

/// A file of a commit.
#[derive(Clone)]
pub struct Content {
    bytes: Arc<Vec<u8>>,
    lfs: bool,
}

impl Content {
    /// A small file in git.
    pub fn git(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Arc::new(bytes.into()), lfs: false }
    }

    /// A file in large storage.
    pub fn lfs(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Arc::new(bytes.into()), lfs: true }
    }

    /// The hash that names it, and its blob in the cache.
    pub fn etag(&self) -> String {
        if self.lfs { hex(&Sha256::digest(&*self.bytes)) } else { git_sha1(&self.bytes) }
    }

    /// Its length.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// What git holds.
    fn in_git(&self) -> Vec<u8> {
        if !self.lfs {
            return self.bytes.to_vec();
        }
        let (oid, size) = (self.etag(), self.size());
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n").into_bytes()
    }
}

/// A repository.
#[derive(Clone, Default)]
pub struct Repository {
    /// Branch or tag to commit.
    pub refs: BTreeMap<String, String>,
    /// Commit to its files.
    pub commits: BTreeMap<String, BTreeMap<String, Content>>,
    /// Nobody sees it without the token.
    pub private: bool,
    /// Everybody sees it, and nobody has been granted its files.
    pub gated: bool,
}

impl Repository {
    /// Commits files to a branch; says the commit.
    pub fn commit(&mut self, branch: &str, files: &[(&str, Content)]) -> String {
        let files: BTreeMap<String, Content> =
            files.iter().map(|(path, content)| ((*path).to_owned(), content.clone())).collect();
        let text = files.iter().fold(format!("{branch} {}", self.commits.len()), |text, (path, content)| {
            format!("{text} {path} {}", content.etag())
        });
        let commit = git_sha1(text.as_bytes());
        self.commits.insert(commit.clone(), files);
        self.refs.insert(branch.to_owned(), commit.clone());
        commit
    }

    fn at(&self, revision: &str) -> Option<(&String, &BTreeMap<String, Content>)> {
        let commit = self.refs.get(revision).map_or(revision, String::as_str);
        self.commits.get_key_value(commit)
    }
}

/// One way to misbehave.
#[derive(Clone)]
pub enum Fault {
    /// Another status, with headers.
    Status(u16, &'static str),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body, and the connection stays.
    Stall(usize),
    /// Nothing more comes after so many bytes of the body until the gate opens.
    Hold(usize, Arc<Gate>),
    /// A bit of the last byte is turned.
    Wrong,
    /// The body ends so many bytes early, and `Content-Length` says the same.
    Short(usize),
    /// `Content-Length` promises so many bytes more than come.
    Promise(usize),
    /// Bytes follow after the last one.
    More(usize),
    /// The whole comes, although a part was asked for.
    NoRange,
    /// The part that comes is another one.
    OtherRange,
    /// No part can be had.
    Unsatisfiable,
    /// A redirect to the same address.
    Loop,
    /// Another hash in `X-Linked-Etag`.
    OtherHash,
    /// Other text in place of the answer.
    Text(String),
}

/// Closed until it is opened.
#[derive(Default)]
pub struct Gate {
    /// Whether somebody waits before it, and whether it is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the server has come to it.
    pub fn reached(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(reached, _)| !*reached).unwrap());
    }

    /// Lets the server go on.
    pub fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// "hub" or "cdn".
    pub host: &'static str,
    /// GET or HEAD.
    pub method: String,
    /// With the query.
    pub target: String,
    /// The header of that name.
    pub authorization: Option<String>,
    /// The header of that name.
    pub range: Option<String>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    /// Part of a target to what happens when one with it is asked for, one after the other.
    faults: Vec<(String, VecDeque<Fault>)>,
    requests: Vec<Request>,
    hub: String,
    cdn: String,
}

/// The server; its threads end with the test.
#[derive(Clone)]
pub struct HubServer {
    state: Arc<Mutex<State>>,
}

impl HubServer {
    /// Starts both hosts.
    pub fn start() -> Self {
        let server = Self { state: Arc::default() };
        // Two names of one machine are two hosts, as they are for cookies and tokens.
        let (hub, cdn) = (server.listen("hub"), server.listen("cdn"));
        let mut state = server.state.lock().unwrap();
        state.hub = format!("http://127.0.0.1:{hub}");
        state.cdn = format!("http://localhost:{cdn}");
        drop(state);
        server
    }

    fn listen(&self, host: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), self.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // A client that goes away is none of the server's business.
                std::thread::spawn(move || drop(server.serve(host, stream)));
            }
        });
        port
    }

    /// `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        self.state.lock().unwrap().hub.clone()
    }

    /// Adds a repository, or changes it. `kind` is `models` or `datasets`.
    pub fn repository<T>(&self, kind: &str, name: &str, change: impl FnOnce(&mut Repository) -> T) -> T {
        change(self.state.lock().unwrap().repositories.entry(format!("{kind}/{name}")).or_default())
    }

    /// Misbehaves at the next requests whose target contains `part`, once for each fault.
    pub fn misbehave(&self, part: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.push((part.to_owned(), faults.into_iter().collect()));
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// What was asked since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    fn serve(&self, host: &'static str, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut request = Request {
            host,
            method: method.to_owned(),
            target: target.to_owned(),
            authorization: None,
            range: None,
        };
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => request.authorization = Some(value.trim().to_owned()),
                "range" => request.range = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let (answer, fault) = {
            let mut state = self.state.lock().unwrap();
            state.requests.push(request.clone());
            // A storage address names its file by a hash, and the file's own name in the query.
            let due = state
                .faults
                .iter_mut()
                .find(|(part, faults)| target.contains(part.as_str()) && !faults.is_empty());
            let fault = due.and_then(|(_, faults)| faults.pop_front());
            let answer = if host == "hub" { state.hub(&request) } else { state.cdn(&request) };
            (answer, fault)
        };
        write(&mut stream, &request, answer, fault)
    }
}

/// An answer before anything goes wrong with it.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Parts of it can be asked for.
    ranges: bool,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), ranges: false }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let answer = Self::new(status, serde_json::json!({ "error": message }).to_string());
        let answer = if code.is_empty() { answer } else { answer.with("X-Error-Code", code) };
        answer.with("X-Error-Message", message).with("Content-Type", "application/json; charset=utf-8")
    }
}

impl State {
    fn hub(&self, request: &Request) -> Answer {
        let known = format!("Bearer {TOKEN}");
        let token = match request.authorization.as_deref() {
            None => false,
            Some(given) if given == known => true,
            // The real one is not known to repeat the token. Others are.
            Some(given) => {
                let message = format!("Invalid credentials in Authorization header ({given})");
                return Answer::error(401, "", &message)
                    .with("WWW-Authenticate", "Bearer realm=\"Authentication required\"");
            }
        };
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parts: Vec<String> = path.trim_start_matches('/').split('/').map(unescape).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["api", "resolve-cache", kind, owner, name, commit, path @ ..] => {
                let repository = self.repositories.get(&format!("{kind}/{owner}/{name}"));
                let content = repository.and_then(|r| r.commits.get(*commit)?.get(&path.join("/")));
                content.map_or_else(
                    || Answer::error(404, "EntryNotFound", "Entry not found"),
                    |content| Answer {
                        ranges: true,
                        ..Answer::new(200, content.in_git())
                            .with("ETag", format!("\"{}\"", content.etag()))
                            .with("X-Repo-Commit", *commit)
                    },
                )
            }
            ["api", kind @ ("models" | "datasets"), owner, name, rest @ ..] => {
                self.with_repository(kind, owner, name, token, |repository| match rest {
                    [] => listing(repository, &format!("{owner}/{name}"), "main", query),
                    ["revision", revision] => {
                        listing(repository, &format!("{owner}/{name}"), revision, query)
                    }
                    _ => Answer::error(404, "", "Not found"),
                })
            }
            ["datasets", owner, name, action, revision, path @ ..] => {
                let file = (*action, *revision, path.join("/"));
                self.with_repository("datasets", owner, name, token, |r| {
                    self.file("datasets", owner, name, r, file, token)
                })
            }
            [owner, name, action, revision, path @ ..] => {
                let file = (*action, *revision, path.join("/"));
                self.with_repository("models", owner, name, token, |r| {
                    self.file("models", owner, name, r, file, token)
                })
            }
            _ => Answer::error(404, "", "Not found"),
        }
    }

    fn with_repository(
        &self,
        kind: &str,
        owner: &str,
        name: &str,
        token: bool,
        answer: impl FnOnce(&Repository) -> Answer,
    ) -> Answer {
        match self.repositories.get(&format!("{kind}/{owner}/{name}")).filter(|r| token || !r.private) {
            Some(repository) => answer(repository),
            // Nobody without a token is told whether there is one.
            None if token => Answer::error(404, "RepoNotFound", "Repository not found"),
            None => Answer::error(401, "RepoNotFound", "Repository not found"),
        }
    }

    /// `resolve` and `raw`.
    fn file(
        &self,
        kind: &str,
        owner: &str,
        name: &str,
        repository: &Repository,
        (action, revision, path): (&str, &str, String),
        token: bool,
    ) -> Answer {
        if repository.gated {
            let (status, message) = match token {
                false => (401, format!("Access to {owner}/{name} is restricted. Please log in.")),
                true => (
                    403,
                    format!("Access to {owner}/{name} is restricted and you are not in the authorized list."),
                ),
            };
            return Answer::error(status, "GatedRepo", &message);
        }
        let Some((commit, files)) = repository.at(revision) else {
            return Answer::error(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
        };
        let Some(content) = files.get(&path) else {
            return Answer::error(404, "EntryNotFound", "Entry not found").with("X-Repo-Commit", commit);
        };
        let etag = content.etag();
        if action == "raw" {
            return Answer::new(200, content.in_git())
                .with("ETag", format!("\"{}\"", git_sha1(&content.in_git())));
        }
        if !content.lfs {
            let location = format!(
                "/api/resolve-cache/{kind}/{owner}/{name}/{commit}/{}?%2F{owner}%2F{name}%2Fresolve=&etag=%22{etag}%22",
                path.replace(' ', "%20")
            );
            return Answer::new(307, "Temporary Redirect. Redirecting")
                .with("Location", location)
                .with("X-Repo-Commit", commit)
                .with("ETag", format!("\"{etag}\""));
        }
        let xet = hex(&Sha256::digest(format!("xet {etag}")));
        let location = format!(
            "{}/xet-bridge/{xet}?response-content-disposition=inline%3B+filename%3D{}&X-Key={etag}&Expires=4102444800&Signature={}",
            self.cdn,
            path.replace(['/', ' '], "_"),
            signature(&etag)
        );
        Answer::new(302, "Found. Redirecting")
            .with("Location", location)
            .with("X-Repo-Commit", commit)
            .with("X-Linked-Size", content.size().to_string())
            .with("X-Linked-Etag", format!("\"{etag}\""))
            .with("X-Xet-Hash", xet.clone())
            .with(
                "Link",
                format!("<{}/api/{kind}/{owner}/{name}/xet-read-token/{commit}>; rel=\"xet-auth\"", self.hub),
            )
            .with("Accept-Ranges", "bytes")
    }

    fn cdn(&self, request: &Request) -> Answer {
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let of = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let etag = of("X-Key");
        // Storage takes one kind of authorization, the signature, and refuses two.
        if request.authorization.is_some() {
            return Answer::new(400, "<Error><Code>InvalidArgument</Code></Error>");
        }
        if of("Signature") != signature(etag) {
            return Answer::new(403, "<Error><Code>AccessDenied</Code></Error>");
        }
        let mut contents =
            self.repositories.values().flat_map(|r| r.commits.values()).flat_map(|files| files.values());
        let Some(content) = contents.find(|content| content.lfs && content.etag() == etag) else {
            return Answer::new(404, "<Error><Code>NoSuchKey</Code></Error>");
        };
        let own = hex(&Sha256::digest(format!("storage {etag}")));
        Answer { ranges: true, ..Answer::new(200, content.bytes.to_vec()).with("ETag", format!("\"{own}\"")) }
    }
}

/// The API's answer on a repository.
fn listing(repository: &Repository, id: &str, revision: &str, query: &str) -> Answer {
    let Some((commit, files)) = repository.at(revision) else {
        return Answer::error(404, "RevisionNotFound", &format!("Invalid rev id: {revision}"));
    };
    // Sizes and hashes come only to those who ask for them.
    let blobs = query.split('&').any(|pair| pair == "blobs=true");
    let siblings = files.iter().map(|(path, content)| {
        let mut sibling = serde_json::json!({ "rfilename": path });
        if blobs {
            let in_git = content.in_git();
            sibling["size"] = content.size().into();
            sibling["blobId"] = git_sha1(&in_git).into();
            if content.lfs {
                sibling["lfs"] = serde_json::json!({
                    "sha256": content.etag(), "size": content.size(), "pointerSize": in_git.len()
                });
            }
        }
        sibling
    });
    let siblings: Vec<_> = siblings.collect();
    let json = serde_json::json!({
        "_id": "0123456789abcdef01234567", "id": id, "sha": commit, "private": repository.private,
        "gated": if repository.gated { "manual".into() } else { serde_json::Value::Bool(false) },
        "lastModified": "2026-01-01T00:00:00.000Z", "tags": [], "siblings": siblings
    });
    Answer::new(200, json.to_string()).with("Content-Type", "application/json; charset=utf-8")
}

/// Writes an answer, or what a fault makes of it.
fn write(
    stream: &mut TcpStream,
    request: &Request,
    mut answer: Answer,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let whole = answer.body.len();
    let first = request
        .range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-')?.0.parse::<usize>().ok());
    match &fault {
        Some(Fault::Status(status, headers)) => {
            answer = Answer::new(*status, "");
            for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
                answer = answer.with(name, value);
            }
        }
        Some(Fault::Text(text)) => answer = Answer::new(200, text.clone()),
        Some(Fault::Loop) => answer = Answer::new(307, "").with("Location", request.target.clone()),
        Some(Fault::OtherHash) => {
            answer.headers.retain(|(name, _)| *name != "X-Linked-Etag");
            answer = answer.with("X-Linked-Etag", format!("\"{}\"", "0".repeat(64)));
        }
        Some(Fault::Unsatisfiable) => answer = Answer::new(416, ""),
        Some(Fault::Wrong) => {
            if let Some(last) = answer.body.last_mut() {
                *last ^= 1;
            }
        }
        Some(Fault::Short(bytes)) => answer.body.truncate(whole.saturating_sub(*bytes)),
        Some(Fault::More(bytes)) => answer.body.extend(vec![0; *bytes]),
        _ => {}
    }
    let whole = answer.body.len();
    if answer.ranges
        && answer.status == 200
        && let Some(mut first) = first
        && !matches!(fault, Some(Fault::NoRange))
    {
        if matches!(fault, Some(Fault::OtherRange)) {
            first = first.saturating_sub(1);
        }
        if first >= whole {
            answer = Answer::new(416, "").with("Content-Range", format!("bytes */{whole}"));
        } else {
            answer.body.drain(..first);
            answer.status = 206;
            answer = answer.with("Content-Range", format!("bytes {first}-{}/{whole}", whole - 1));
        }
    }
    let promised = match fault {
        Some(Fault::Promise(bytes)) => answer.body.len() + bytes,
        _ => answer.body.len(),
    };
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
    // Without a length the body ends with the connection.
    if !matches!(fault, Some(Fault::More(_))) {
        let _ = write!(head, "Content-Length: {promised}\r\n");
    }
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let body = &answer.body;
    match fault {
        Some(Fault::Cut(bytes)) => stream.write_all(&body[..bytes.min(body.len())]),
        Some(Fault::Stall(bytes)) => {
            stream.write_all(&body[..bytes.min(body.len())])?;
            // Until the client goes away.
            let mut silence = BufReader::new(stream.try_clone()?);
            while silence.fill_buf().is_ok_and(|bytes| !bytes.is_empty()) {
                let read = silence.buffer().len();
                silence.consume(read);
            }
            Ok(())
        }
        Some(Fault::Hold(bytes, gate)) => {
            let bytes = bytes.min(body.len());
            stream.write_all(&body[..bytes])?;
            stream.flush()?;
            gate.pass();
            stream.write_all(&body[bytes..])
        }
        _ => stream.write_all(body),
    }
}

fn signature(etag: &str) -> String {
    hex(&Sha1::digest(format!("signed {etag}")))
}

fn git_sha1(bytes: &[u8]) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unescape(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        let pair = (byte == b'%').then(|| [rest.next().unwrap_or_default(), rest.next().unwrap_or_default()]);
        let code = pair.and_then(|pair| u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok());
        bytes.push(code.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
