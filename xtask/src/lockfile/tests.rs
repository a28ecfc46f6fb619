use super::*;

fn entry(kind: Kind, name: &str) -> (Wanted, Locked) {
    let digest = |hex: &str| Digest::sha256(&hex.repeat(64)).unwrap();
    let file = |path: &str, hex| RemoteFile { path: path.into(), size: 7, digest: digest(hex) };
    (
        Wanted { repo: Repo::new(kind, name).unwrap(), revision: "refs/convert/parquet".into() },
        Locked {
            commit: "a1".repeat(20), files: vec![file("a \"b\".parquet", "0"), file("ä.parquet", "1")]
        },
    )
}

#[test]
fn what_is_written_is_read_and_written_again_only_when_it_changed() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = dir.path().join("my.toml");
    let mut lock = Lockfile::beside(&pipeline).unwrap();
    lock.save().unwrap();
    assert!(!lock.path().exists(), "nothing to say, no file");
    for (wanted, locked) in
        [entry(Kind::Model, "z/z"), entry(Kind::Dataset, "a/b"), entry(Kind::Model, "a/b")]
    {
        lock.set(wanted, locked);
    }
    lock.save().unwrap();
    let text = std::fs::read_to_string(dir.path().join("my.lock")).unwrap();
    let mut again = Lockfile::beside(&pipeline).unwrap();
    assert_eq!(again.entries, lock.entries);
    assert_eq!(again.text(), text);
    // Unchanged, it is not touched.
    std::fs::remove_file(again.path()).unwrap();
    again.save().unwrap();
    assert!(!again.path().exists());
    again.keep(&[entry(Kind::Model, "z/z").0]);
    again.save().unwrap();
    assert_eq!(Lockfile::beside(&pipeline).unwrap().entries.len(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_cannot_be_relied_on_is_refused() {
    let good = "format = \"resect-lock/1.0\"\n[[repository]]\nkind = \"model\"\nrepository = \"a/b\"\n\
                revision = \"main\"\ncommit = \"0123456789012345678901234567890123456789\"\nfiles = [{ path = \"x\", \
                size = 1, hash = \"git-sha1:0123456789012345678901234567890123456789\" }]\n";
    assert_eq!(read(good).unwrap().len(), 1);
    for (from, to, expected) in [
        ("lock/1.0", "lock/2.0", "its format is"),
        ("\"model\"", "\"space\"", "neither model nor dataset"),
        ("a/b", "../b", "must look like owner/name"),
        ("commit = \"0", "commit = \"x", "is no commit"),
        ("path = \"x\"", "path = \"../x\"", "is no file name"),
        ("git-sha1:0", "git-sha1:x", "hex digits"),
        ("size = 1", "size = -1", ""),
        ("[[repository]]", "[[repository", ""),
    ] {
        let error = read(&good.replace(from, to)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
