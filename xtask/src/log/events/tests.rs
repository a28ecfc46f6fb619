use super::*;

#[test]
fn checksums_are_castagnolis() {
    // RFC 3720, B.4; and the check value of the catalogue.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_record_is_laid_out_as_tensorboard_expects() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = Events::create(dir.path()).unwrap();
    events.write(300, [("a/b".to_owned(), 0.5)].into_iter()).unwrap();
    events.write(301, std::iter::empty()).unwrap();
    let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let content = std::fs::read(file).unwrap();
    let mut rest = &content[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], masked(&rest[..8]));
        assert_eq!(rest[12 + length..16 + length], masked(&rest[12..12 + length]));
        // A double of field 1 begins each: the time.
        assert_eq!(rest[12], 0x09);
        records.push(rest[21..12 + length].to_vec());
        rest = &rest[16 + length..];
    }
    let version = [&[0x1a, 13], &b"brain.Event:2"[..]].concat();
    let scalar =
        [&[0x10, 0xac, 0x02, 0x2a, 12, 0x0a, 10, 0x0a, 3], &b"a/b"[..], &[0x15, 0, 0, 0, 0x3f]].concat();
    assert_eq!(records, [version, scalar]);
}
