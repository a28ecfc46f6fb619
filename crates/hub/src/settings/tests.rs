use super::*;
use std::collections::BTreeMap;

fn read(variables: &[(&str, &str)]) -> Result<Settings, Error> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Settings::read(&|name| Ok(variables.get(name).map(|value| (*value).to_owned())))
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
fn what_is_set_and_cannot_be_used_is_an_error_and_not_unset() {
    let dir = tempfile::tempdir().unwrap();
    let home = ("HF_HOME", dir.path().to_str().unwrap());
    assert!(read(&[home]).unwrap().token.is_none(), "no token is no error");
    std::fs::write(dir.path().join("token"), [0xff, 0xfe]).unwrap();
    let error = read(&[home]).unwrap_err().to_string();
    assert!(error.contains("token"), "{error}");
    let error = read(&[("HF_HUB_CACHE", "~/cache"), ("HF_TOKEN", "x")]).unwrap_err().to_string();
    assert_eq!(error, "HOME is not set, so the path ~/cache has no meaning");
    let not_unicode = |name| match name {
        "HF_HUB_CACHE" => Err(Error::Setting { variable: name, message: "is not valid UTF-8".into() }),
        _ => Ok(None),
    };
    assert!(matches!(Settings::read(&not_unicode), Err(Error::Setting { variable: "HF_HUB_CACHE", .. })));
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
