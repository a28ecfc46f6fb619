//! Endpoint, cache and token, from the environment variables that all Hugging Face tools read.

use crate::Error;
use std::fmt;
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
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let home = || {
            let cache = get("XDG_CACHE_HOME").map(PathBuf::from);
            let cache = cache.or_else(|| Some(home_dir(get)?.join(".cache")));
            get("HF_HOME").map(|dir| expand(&dir, get)).or_else(|| Some(cache?.join("huggingface")))
        };
        let cache = get("HF_HUB_CACHE").or_else(|| get("HUGGINGFACE_HUB_CACHE")).map(|dir| expand(&dir, get));
        let cache = cache.or_else(|| Some(home()?.join("hub"))).ok_or(Error::Setting {
            variable: "HF_HOME",
            message: "is not set, and there is no home folder to put the cache in".into(),
        })?;
        let token = if is_true(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
            None
        } else {
            let given = get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN"));
            let file =
                get("HF_TOKEN_PATH").map(|path| expand(&path, get)).or_else(|| Some(home()?.join("token")));
            given.or_else(|| std::fs::read_to_string(file?).ok())
        };
        Ok(Self {
            endpoint: endpoint(get("HF_ENDPOINT"))?,
            cache: std::path::absolute(&cache).map_err(Error::io("find", &cache))?,
            token: token_of(token.as_deref())?,
            offline: is_true(get("HF_HUB_OFFLINE")),
            timeout: timeout(get("HF_HUB_DOWNLOAD_TIMEOUT"))?,
            certificates: get("SSL_CERT_FILE").or_else(|| get("REQUESTS_CA_BUNDLE")).map(PathBuf::from),
        })
    }

    /// Whether a token is sent.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

fn home_dir(get: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    get("HOME").or_else(|| get("USERPROFILE")).map(PathBuf::from)
}

/// A path in which `~/` means the home folder: a variable may be set where no shell expands it.
fn expand(path: &str, get: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    match (path.strip_prefix("~/"), home_dir(get)) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => Path::new(path).to_path_buf(),
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
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Settings::read(&|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn the_more_specific_variable_wins() {
        let cache = |variables: &[(&str, &str)]| read(variables).unwrap().cache;
        let home = ("HOME", "/h");
        assert_eq!(cache(&[home]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")]), Path::new("/f/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/f"), ("HF_HUB_CACHE", "~/c")]), Path::new("/h/c"));
        assert!(matches!(read(&[]), Err(Error::Setting { variable: "HF_HOME", .. })));
    }

    #[test]
    fn the_token_comes_from_the_variable_or_the_file_and_is_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        let home = ("HF_HOME", dir.path().to_str().unwrap());
        let header = |variables: &[(&str, &str)]| read(variables).unwrap().token.map(|token| token.header());
        assert_eq!(header(&[home]).unwrap(), "Bearer hf_file");
        assert_eq!(header(&[home, ("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap(), "Bearer hf_other");
        assert_eq!(header(&[home, ("HF_TOKEN", "hf_secret")]).unwrap(), "Bearer hf_secret");
        assert_eq!(header(&[home, ("HF_TOKEN", "hf_x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(header(&[("HF_HOME", "/nowhere")]), None);
        let settings = read(&[home, ("HF_TOKEN", "hf_secret")]).unwrap();
        assert!(!format!("{settings:?}").contains("hf_secret"));
        assert_eq!(settings.token.unwrap().scrub("bad token hf_secret"), "bad token ***");
        let error = read(&[home, ("HF_TOKEN", "hf_se cret")]).unwrap_err().to_string();
        assert!(!error.contains("hf_se"), "{error}");
    }

    #[test]
    fn endpoint_timeout_and_offline_are_checked() {
        let home = ("HF_HOME", "/f");
        assert_eq!(read(&[home]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(read(&[home, ("HF_ENDPOINT", "http://m:81/hf/")]).unwrap().endpoint, "http://m:81/hf");
        for bad in ["mirror", "ftp://x", "https://user:pw@x", "https://x/?y"] {
            let error = read(&[home, ("HF_ENDPOINT", bad)]).unwrap_err().to_string();
            assert!(error.starts_with("HF_ENDPOINT") && !error.contains("pw@"), "{error}");
        }
        assert_eq!(read(&[home, ("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")]).unwrap().timeout.as_millis(), 500);
        assert!(read(&[home, ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")]).is_err());
        assert!(read(&[home, ("HF_HUB_OFFLINE", "true")]).unwrap().offline);
        assert!(!read(&[home, ("HF_HUB_OFFLINE", "0")]).unwrap().offline);
    }
}
