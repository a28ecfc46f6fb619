use super::*;

#[test]
fn redirects_are_resolved_and_only_the_endpoint_is_itself() {
    let base: Uri = "https://hub.test/a/b/resolve/main/c.json".parse().unwrap();
    let join = |location: &str| join(&base, location).map(|uri| uri.to_string());
    assert_eq!(join("/api/x?y=%22z%22").unwrap(), "https://hub.test/api/x?y=%22z%22");
    assert_eq!(join("https://cdn.test/x").unwrap(), "https://cdn.test/x");
    assert_eq!(join("//cdn.test/x").unwrap(), "https://cdn.test/x");
    assert_eq!(join("d.json").unwrap(), "https://hub.test/a/b/resolve/main/d.json");
    assert_eq!(join("https://"), None);
    let same = |url: &str| same_origin(&url.parse().unwrap(), "https://hub.test/prefix");
    assert!(same("https://HUB.test/x") && same("https://hub.test:443/x"));
    for other in
        ["http://hub.test/", "https://hub.test:8443/", "https://cdn.hub.test/", "https://hub.test.evil/"]
    {
        assert!(!same(other), "{other}");
    }
}

#[test]
fn waits_grow_and_differ() {
    for failed in 1..6 {
        let wait = backoff(failed).as_secs_f64() / f64::from(1u32 << (failed - 1));
        assert!((0.375..=0.625).contains(&wait), "{wait}");
    }
    assert_ne!(backoff(1), backoff(1));
}

#[test]
fn etags_are_bare() {
    assert_eq!(plain_etag("W/\"abc\""), "abc");
    assert_eq!(plain_etag("\"abc\""), "abc");
}

#[test]
fn a_file_of_certificates_holds_some() {
    let path = Path::new("/etc/ca.pem");
    for (pem, reason) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "cannot be read as PEM"),
    ] {
        let error = certificates(path, pem.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("/etc/ca.pem") && error.contains(reason), "{error}");
    }
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(certificates(path, pem.as_bytes()).unwrap().len(), 1);
}
