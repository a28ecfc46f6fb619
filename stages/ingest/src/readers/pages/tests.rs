use super::*;
use std::io::Cursor;

fn header(bytes: &[u8]) -> io::Result<(i64, i64, i64, u64)> {
    let mut reader = Cursor::new(bytes);
    let header = Header::read(&mut reader)?;
    Ok((header.kind, header.uncompressed, header.compressed, reader.position()))
}

#[test]
fn a_header_is_read_to_its_end() {
    // Type 0, 300 and 40 bytes; a struct as field 5 with a number and a text in it; a field by its full number.
    let bytes = b"\x15\x00\x15\xd8\x04\x15\x50\x2c\x15\x02\x18\x03abc\x00\x01\xc8\x01\x00rest";
    assert_eq!(header(bytes).unwrap(), (0, 300, 40, bytes.len() as u64 - 4));
    assert_eq!(header(b"\x15\x04\x15\x01\x00").unwrap(), (2, -1, 0, 5));
}

#[test]
fn a_header_that_cannot_be_is_an_error() {
    for bytes in [b"".as_slice(), b"\x15", b"\x15\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x19\x15"] {
        assert!(header(bytes).is_err(), "{bytes:x?}");
    }
    assert!(header(&[0x1c; 1000]).is_err(), "no end of levels");
}
