use super::*;

#[test]
fn files_in_git_and_in_lfs_have_their_own_hashes() {
    let (sha1, sha256) = ("a".repeat(40), "b".repeat(64));
    let json = format!(
        r#"{{"id":"o/n","sha":"{sha1}","private":false,"siblings":[
              {{"rfilename":"model.safetensors","size":10,"blobId":"{sha1}",
                "lfs":{{"sha256":"{sha256}","size":10,"pointerSize":134}}}},
              {{"rfilename":"config.json","size":3,"blobId":"{sha1}"}}]}}"#
    );
    let listing = Listing::parse(json.as_bytes()).unwrap();
    let files: Vec<_> =
        listing.files.iter().map(|f| (f.path.as_str(), f.size, f.digest.to_string())).collect();
    let expected = [
        ("config.json", 3, format!("git-sha1:{sha1}")),
        ("model.safetensors", 10, format!("sha256:{sha256}")),
    ];
    assert_eq!(files, expected);
}

#[test]
fn a_listing_that_cannot_be_relied_on_is_refused() {
    let sha1 = "a".repeat(40);
    let sibling = |text: &str| format!(r#"{{"sha":"{sha1}","siblings":[{text}]}}"#);
    for (json, expected) in [
        ("[]".to_owned(), "not the expected JSON"),
        (r#"{"sha":"main"}"#.to_owned(), "is no commit"),
        (sibling(r#"{"rfilename":"x.parquet"}"#), "x.parquet has no size and hash"),
        (sibling(&format!(r#"{{"rfilename":"../x","size":1,"blobId":"{sha1}"}}"#)), "no file name below"),
        (sibling(r#"{"rfilename":"x","size":1,"blobId":"../../etc"}"#), "x has no size and hash"),
    ] {
        let error = Listing::parse(json.as_bytes()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
