use super::*;

#[test]
fn a_stream_depends_on_every_part() {
    let first = |purpose, seed, parts: &[&[u8]]| below(&mut stream(purpose, seed, parts), u32::MAX);
    let base = first("jitter", 1, &[b"ab", b"c"]);
    assert_eq!(base, first("jitter", 1, &[b"ab", b"c"]));
    assert_ne!(base, first("jitter", 1, &[b"a", b"bc"]));
    assert_ne!(base, first("jitter", 2, &[b"ab", b"c"]));
    assert_ne!(base, first("shuffle", 1, &[b"ab", b"c"]));
}

#[test]
fn shuffle_is_a_permutation() {
    let mut items: Vec<u32> = (0..100).collect();
    shuffle(&mut stream("test", 0, &[]), &mut items);
    assert_ne!(items, (0..100).collect::<Vec<_>>());
    items.sort();
    assert_eq!(items, (0..100).collect::<Vec<_>>());
}
