use super::*;

#[test]
fn nothing_secret_stands_in_a_url() {
    for url in [
        "s3://bucket/prefix",
        "gs://b",
        "/mnt/shared",
        "file:///mnt/a@b",
        "https://host/resect",
        "abfss://c@account.dfs.core.windows.net/x",
    ] {
        assert!(check(url).is_ok(), "{url}");
    }
    for url in [
        "https://me:secret@host/x",
        "https://host/x?token=secret",
        "s3://key:secret@bucket",
        "abfss://c:secret@account.dfs.core.windows.net/x",
    ] {
        let said = check(url).unwrap_err().to_string();
        assert!(!said.contains("secret"), "{said}");
    }
}
