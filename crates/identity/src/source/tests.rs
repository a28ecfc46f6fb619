use super::*;

/// Checks a source at `src/part/file.rs` beside which `src/part/other.rs` and `src/data.txt` count.
fn checked(text: &str) -> Result<(), Problem> {
    check(Path::new("src/part/file.rs"), text, |file| {
        [Path::new("src/part/other.rs"), Path::new("src/data.txt")].contains(&file)
    })
}

#[test]
fn unit_tests_must_be_compiled_for_tests_alone() {
    for text in [
        "#[cfg(test)]\nmod tests;",
        "#[cfg(test)]\n#[cfg(target_os = \"linux\")]\nmod tests;",
        "#[cfg(target_os = \"linux\")]\n#[cfg(test)] // a comment\n/* and /* another */ */ pub(crate) mod tests;",
        "#[cfg(test)]\n#[allow(clippy::all, reason = \"a [b]\")]\npub mod tests;",
        "mod tests { mod inner; }",
        "mod tests_of_more;",
        "// mod tests;",
        "/* mod tests; */",
        "const TEXT: &str = \"mod tests;\";",
        "const TEXT: &str = \"a \\\" mod tests;\";",
        "const TEXT: &str = r#\"a \" mod tests;\"#;",
        "const QUOTE: char = '\"'; const TEXT: &str = \"mod tests;\";",
        "const QUOTE: char = '\\''; const TEXT: &str = \"mod tests;\";",
    ] {
        assert_eq!(checked(text), Ok(()), "{text}");
    }
    for (text, line) in [
        ("mod tests;", 1),
        ("mod a;\n\nmod\ntests\n;", 3),
        ("#[cfg(feature = \"test\")]\nmod tests;", 2),
        ("#[cfg(not(test))]\nmod tests;", 2),
        ("#[cfg(any(test, unix))]\nmod tests;", 2),
        ("#![cfg(test)]\nmod tests;", 2),
        ("#[cfg(test)]\nmod a;\npub(crate) mod tests;", 3),
        ("#[cfg(test)]\nfn a() -> [u8; 1] { [0] }\npub mod tests;", 3),
        ("fn a<'a>(x: &'a str) {}\nmod tests;", 2),
        ("const A: char = '\"';\nmod tests; // \"", 2),
        ("const A: &str = r\"\\\";\nmod tests; // \"", 2),
        ("let r#mod = b'\\\\';\nmod tests;", 2),
    ] {
        let problem = checked(text).unwrap_err();
        assert_eq!(problem.line, line, "{text}");
        assert!(problem.message.contains("#[cfg(test)]"), "{}", problem.message);
    }
}

#[test]
fn files_that_are_named_must_count() {
    for text in [
        "#[path = \"other.rs\"]\nmod a;",
        "const A: &str = include_str!(\"../data.txt\");",
        "include!(\"./other.rs\");",
        "let path = \"tests.rs\";",
    ] {
        assert_eq!(checked(text), Ok(()), "{text}");
    }
    for text in [
        "#[path = \"tests.rs\"]\nmod a;",
        "#[cfg_attr(unix, path = \"../tests/a.rs\")]\nmod a;",
        "include!(\"tests.rs\");",
        "const A: &[u8] = include_bytes!(\"../../data.txt\");",
        "const A: &str = include_str![concat!(\"../\", \"data.txt\")];",
        "const A: &str = env!(\"CARGO_PKG_VERSION\");",
    ] {
        assert!(checked(text).is_err(), "{text}");
    }
}
