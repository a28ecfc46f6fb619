use super::*;

#[test]
fn what_a_terminal_would_obey_is_shown() {
    assert_eq!(harmless("two\nlines\tand é, –, 𝄞"), "two\nlines\tand é, –, 𝄞");
    // Clears the screen; an eight-bit escape; renames the window; turns the direction; goes back to the line's beginning.
    for (from, to) in [
        ("a\u{1b}[2Jb", "a\\u001b[2Jb"),
        ("a\u{9b}2J", "a\\u009b2J"),
        ("\u{1b}]0;x\u{7}", "\\u001b]0;x\\u0007"),
        ("cod\u{202e}gnp", "cod\\u202egnp"),
        ("ok\rerror", "ok\\u000derror"),
    ] {
        assert_eq!(harmless(from), to);
    }
    // Of what serde_json leaves as it is, too.
    let json = serde_json::json!({ "id": "a\u{7f}\u{9b}\u{202e}\u{1b}" });
    let printed = serde_json::to_string_pretty(&json).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&harmless(&printed)).unwrap(), json);
}

#[test]
fn time_left_follows_from_what_this_start_did() {
    let began = Instant::now();
    let after = |seconds| began + Duration::from_secs(seconds);
    // An earlier start did 900 of 1000; this one did 20 in 40 seconds.
    let pace = Pace { began, first: 900 };
    assert_eq!(pace.left(920, 1000, after(40)), Some(Duration::from_secs(160)));
    assert_eq!(pace.left(900, 1000, after(40)), None);
    assert_eq!(pace.left(1000, 1000, after(40)), None);
    assert_eq!([7, 130, 3900].map(|s| rough(Duration::from_secs(s))), ["7s", "2m10s", "1h05m"]);
}
