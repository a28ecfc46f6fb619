use super::*;

fn of(like: &str, content: &[u8]) -> String {
    let like = Digest::try_from(like.to_owned()).unwrap();
    let mut hasher = Hasher::new(&like, content.len() as u64);
    hasher.update(content);
    hasher.finish().to_string()
}

#[test]
fn digests_are_those_of_git_and_of_sha256sum() {
    // printf 'hello\n' | git hash-object --stdin; printf 'hello\n' | sha256sum
    let git = "git-sha1:ce013625030ba8dba906f756967f9e9ca394464a";
    assert_eq!(of(git, b"hello\n"), git);
    let sha256 = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    assert_eq!(of(sha256, b"hello\n"), sha256);
}

#[test]
fn what_is_no_digest_is_refused() {
    for bad in
        ["", "sha256:", "sha256:12", "md5:00", &format!("git-sha1:{}", "G".repeat(40)), &"0".repeat(64)]
    {
        assert!(Digest::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}
