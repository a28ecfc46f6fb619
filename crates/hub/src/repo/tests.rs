use super::*;

#[test]
fn repositories_have_an_owner_and_a_name() {
    for good in ["facebook/sam-vit-base", "kowndinya23/Kvasir-SEG", "a_b/c.d"] {
        assert_eq!(check_repository(good), Ok(()), "{good}");
    }
    for bad in ["", "gpt2", "a/b/c", "a/", "../b", "a/..", "a b/c", "https://x/y", "a/b--c", "a/.b", "ä/b"] {
        assert!(check_repository(bad).is_err(), "{bad}");
    }
}

#[test]
fn revisions_may_have_slashes_and_cannot_leave_their_folder() {
    for good in ["main", "v1.0", "refs/convert/parquet", "refs/pr/12", &"0f".repeat(20)] {
        assert_eq!(check_revision(good), Ok(()), "{good}");
    }
    for bad in ["", "/main", "main/", "a//b", "../x", "a/../b", "a b", "a\\b", "a?b", ".x", "x\n", "x.lock"] {
        assert!(check_revision(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn file_names_cannot_leave_their_folder() {
    for good in ["config.json", "data/train-00000-of-00002.parquet", "a b/ä.parquet", "..x/y..", "ab:c"] {
        assert_eq!(check_path(good), Ok(()), "{good}");
    }
    for bad in ["", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a\\b", "a\0b", "C:/x", "a/"] {
        assert!(check_path(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn addresses_are_escaped() {
    assert_eq!(escape("refs/convert/parquet", true), "refs%2Fconvert%2Fparquet");
    assert_eq!(escape("a b/c#d?.parquet", false), "a%20b/c%23d%3F.parquet");
    assert_eq!(escape("ä", true), "%C3%A4");
}
