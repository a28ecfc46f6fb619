//! Endpoint, cache and token, from the environment variables that all Hugging Face tools read.

use crate::Error;
use std::env::VarError;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";
/// As long as `huggingface_hub` waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where and how the Hub is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address of the Hub, without a slash at its end.
    pub endpoint: String,
    /// The folder of the cache.
    pub cache: PathBuf,
    /// Sent to the endpoint, and to nobody else.
    pub(crate) token: Option<Token>,
    /// Nothing is asked.
    pub offline: bool,
    /// The longest wait for a connection, an answer, or the next bytes.
    pub timeout: Duration,
    /// Certificates to trust instead of the built-in ones, PEM.
    pub certificates: Option<PathBuf>,
}

/// An access token; it cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// A text from elsewhere without the token in it.
    pub fn scrub(&self, text: &str) -> String {
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that holds nothing usable, or no folder for the cache.
    pub fn from_env() -> Result<Self, Error> {
        Self::read(&|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => {
                Err(Error::Setting { variable: name, message: "is not valid UTF-8".into() })
            }
        })
    }

    fn read(get: &Get<'_>) -> Result<Self, Error> {
        let home = || -> Result<Option<PathBuf>, Error> {
            if let Some(dir) = get("HF_HOME")? {
                return expand(&dir, get).map(Some);
            }
            let cache = match get("XDG_CACHE_HOME")? {
                Some(dir) => Some(PathBuf::from(dir)),
                None => home_dir(get)?.map(|home| home.join(".cache")),
            };
            Ok(cache.map(|cache| cache.join("huggingface")))
        };
        let cache = match first(["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"], get)? {
            Some(dir) => Some(expand(&dir, get)?),
            None => home()?.map(|home| home.join("hub")),
        };
        let cache = cache.ok_or(Error::Setting {
            variable: "HF_HOME",
            message: "is not set, and there is no home folder to put the cache in".into(),
        })?;
        let token = if is_true(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")?) {
            None
        } else {
            match (first(["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"], get)?, get("HF_TOKEN_PATH")?) {
                (Some(token), _) => Some(token),
                (None, Some(path)) => token_in(&expand(&path, get)?)?,
                (None, None) => match home()? {
                    Some(home) => token_in(&home.join("token"))?,
                    None => None,
                },
            }
        };
        Ok(Self {
            endpoint: endpoint(get("HF_ENDPOINT")?)?,
            cache: std::path::absolute(&cache).map_err(Error::io("find", &cache))?,
            token: token_of(token.as_deref())?,
            offline: is_true(get("HF_HUB_OFFLINE")?),
            timeout: timeout(get("HF_HUB_DOWNLOAD_TIMEOUT")?)?,
            certificates: first(["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"], get)?.map(PathBuf::from),
        })
    }

    /// Whether a token is sent.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

/// Reads a variable; none where it is not set or empty.
type Get<'a> = dyn Fn(&'static str) -> Result<Option<String>, Error> + 'a;

/// The first of two variables that is set.
fn first([name, other]: [&'static str; 2], get: &Get<'_>) -> Result<Option<String>, Error> {
    match get(name)? {
        Some(value) => Ok(Some(value)),
        None => get(other),
    }
}

fn home_dir(get: &Get<'_>) -> Result<Option<PathBuf>, Error> {
    Ok(first(["HOME", "USERPROFILE"], get)?.map(PathBuf::from))
}

/// A path in which `~/` means the home folder: a variable may be set where no shell expands it.
fn expand(path: &str, get: &Get<'_>) -> Result<PathBuf, Error> {
    match path.strip_prefix("~/") {
        None => Ok(path.into()),
        Some(rest) => home_dir(get)?.map(|home| home.join(rest)).ok_or_else(|| Error::Setting {
            variable: "HOME",
            message: format!("is not set, so the path {path} has no meaning"),
        }),
    }
}

/// The text of the file of a token; none where there is no such file.
fn token_in(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
}

fn endpoint(given: Option<String>) -> Result<String, Error> {
    let Some(given) = given else { return Ok(ENDPOINT.into()) };
    let given = given.trim_end_matches('/');
    let uri = given.parse::<ureq::http::Uri>().ok();
    let scheme = uri.as_ref().and_then(|uri| uri.scheme_str());
    let authority = uri.as_ref().and_then(|uri| uri.authority());
    let wrong = |message: &str| Error::Setting { variable: "HF_ENDPOINT", message: message.into() };
    match (scheme, authority) {
        // It is printed in messages, and logged by servers in between.
        (Some(_), Some(authority)) if authority.as_str().contains('@') => {
            Err(wrong("must not hold a user or password; a token goes into HF_TOKEN"))
        }
        (Some("http" | "https"), Some(_)) if !given.contains('?') => Ok(given.to_owned()),
        _ => Err(wrong("must be an address such as https://huggingface.co")),
    }
}

fn token_of(text: Option<&str>) -> Result<Option<Token>, Error> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Some(Token(text.to_owned())));
    }
    Err(Error::Setting { variable: "HF_TOKEN", message: "holds blanks or signs that no token has".into() })
}

fn timeout(given: Option<String>) -> Result<Duration, Error> {
    let Some(given) = given else { return Ok(TIMEOUT) };
    let seconds = given.trim().parse::<f64>().ok().filter(|seconds| (1e-3..=1e6).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| Error::Setting {
        variable: "HF_HUB_DOWNLOAD_TIMEOUT",
        message: format!("must be seconds, is \"{given}\""),
    })
}

#[cfg(test)]
mod tests;
