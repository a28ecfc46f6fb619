//! What the Hub answers: listings, headers, names. The first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::begin;
use resect_hub::{Digest, Kind, Listing, Repo, check_path, check_revision, read_header};

fn seeds() -> Vec<Vec<u8>> {
    let (sha1, sha256) = ("a".repeat(40), "b".repeat(64));
    let listing = format!(
        r#"0{{"id":"o/n","sha":"{sha1}","siblings":[{{"rfilename":"m.safetensors","size":10,"blobId":"{sha1}",
        "lfs":{{"sha256":"{sha256}","size":10,"pointerSize":134}}}},{{"rfilename":"a/c.json","size":3,"blobId":"{sha1}"}}]}}"#
    );
    vec![
        listing.into_bytes(),
        b"1bytes 10-20/30".into(),
        b"1W/\"abc\"".into(),
        b"1//other.test/a/b#c".into(),
        b"2owner/name".into(),
        format!("2sha256:{sha256}").into_bytes(),
    ]
}

fuzz_target!(init: begin("hub", seeds()), |bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match kind % 3 {
        0 => {
            if let Ok(listing) = Listing::parse(rest) {
                // Each becomes a file below a folder of the cache.
                for file in &listing.files {
                    let path = std::path::Path::new(&file.path);
                    assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                }
            }
        }
        1 => read_header("https://hub.test/a", text),
        _ => {
            let _ = (check_path(text), check_revision(text), Repo::new(Kind::Dataset, text));
            if let Ok(digest) = Digest::try_from(text.to_owned()) {
                assert_eq!(digest.to_string(), text);
            }
        }
    }
});
