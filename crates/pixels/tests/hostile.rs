//! Picture files that lie or explode: one error each, and memory within what the limit allows. One test alone in its program, because
//! memory is the program's.

use resect_pixels::{PixelError, grey, rgb, upright_size};
use std::io::{Cursor, Write};

const MAX_PIXELS: u64 = 1 << 20;

fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [kind.as_slice(), content].concat();
    let length = (content.len() as u32).to_be_bytes();
    [&length, body.as_slice(), &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// A PNG of a colour type with these chunks after its header.
fn png([width, height]: [u32; 2], depth: u8, colour: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[depth, colour, 0, 0, 0]].concat();
    let begin = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header)].concat();
    [begin, chunks.concat(), chunk(b"IEND", b"")].concat()
}

/// So many zeros, packed a thousand to one.
fn bomb(length: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..length >> 20 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

fn bmp(width: i32, height: i32, bits: u16) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for value in [54, 0, 54, 40, width, height, 1 | i32::from(bits) << 16, 0, 0, 0, 0, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// A TIFF of one strip that says to be so long; entries are tag, type and value.
fn tiff(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend((entries.len() as u16).to_le_bytes());
    for &(tag, kind, value) in entries {
        bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        bytes.extend([1u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes
}

/// Eight bits of grey, `width x height`, its one strip at `offset`.
fn grey_tiff(width: u32, height: u32, offset: u32, length: u32) -> Vec<u8> {
    tiff(&[
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, offset),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, length),
    ])
}

/// A baseline JPEG's frame header, then a scan of nothing.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let [[h1, h0], [w1, w0]] = [height.to_be_bytes(), width.to_be_bytes()];
    let frame = [0xff, 0xc0, 0, 11, 8, h1, h0, w1, w0, 1, 1, 0x11, 0];
    let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xff, 0xd9];
    [&[0xff, 0xd8], frame.as_slice(), &scan].concat()
}

fn webp(width: u32, height: u32) -> Vec<u8> {
    let bits = (width - 1) | (height - 1) << 14;
    let content = [&[0x2f], bits.to_le_bytes().as_slice(), &[0; 3]].concat();
    let chunk = [b"VP8L", (content.len() as u32).to_le_bytes().as_slice(), &content].concat();
    [b"RIFF", (chunk.len() as u32 + 4).to_le_bytes().as_slice(), b"WEBP", &chunk].concat()
}

/// What all three readers say; none of them may accept it.
fn refused(what: &str, bytes: &[u8]) -> PixelError {
    assert!(grey(bytes, MAX_PIXELS, false).is_err(), "{what}");
    assert!(grey(bytes, MAX_PIXELS, true).is_err(), "{what}");
    let Err(error) = rgb(bytes, MAX_PIXELS) else { panic!("{what} is accepted") };
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < 500, "{what}: {text}");
    error
}

#[test]
fn what_lies_or_explodes_is_refused_within_the_limit() {
    // 60000 x 60000 in a few kilobytes, in each format: the header is enough.
    for (what, bytes) in [
        ("png", png([60_000; 2], 1, 0, &[chunk(b"IDAT", &bomb(4 << 20))])),
        (
            "png with a palette",
            png([60_000; 2], 1, 3, &[chunk(b"PLTE", &[0; 6]), chunk(b"IDAT", &bomb(4 << 20))]),
        ),
        ("bmp", bmp(60_000, 60_000, 24)),
        ("bmp upside down", bmp(60_000, -60_000, 24)),
        ("tiff", grey_tiff(60_000, 60_000, 8, 100)),
        ("jpeg", jpeg(60_000, 60_000)),
        ("webp", webp(16_383, 16_383)),
    ] {
        assert!(bytes.len() < 8000, "{what}");
        let error = refused(what, &bytes);
        let size = upright_size(Cursor::new(&bytes), MAX_PIXELS);
        assert!(size.is_err(), "{what}");
        if !what.contains("jpeg") {
            assert!(matches!(error, PixelError::TooLarge { .. }), "{what}: {error}");
        }
    }
    // Within the limit by their headers, and not there.
    let size = [1000; 2];
    for (what, bytes) in [
        ("png without pixels", png(size, 8, 2, &[])),
        ("png of few pixels", png(size, 8, 2, &[chunk(b"IDAT", &bomb(1 << 20))])),
        ("png of no pixels at all", png([0, 7], 8, 2, &[chunk(b"IDAT", &bomb(1 << 20))])),
        ("png of an odd depth", png(size, 5, 2, &[chunk(b"IDAT", &bomb(1 << 20))])),
        ("bmp without pixels", bmp(1000, 1000, 24)),
        ("bmp of impossible bits", bmp(1000, 1000, 7)),
        ("bmp of no width", bmp(0, 1000, 24)),
        ("bmp of the least height", bmp(10, i32::MIN, 24)),
        ("tiff whose strip is not there", grey_tiff(1000, 1000, u32::MAX - 4, 1_000_000)),
        ("tiff whose strip is a gigabyte", grey_tiff(1000, 1000, 8, 1 << 30)),
        ("tiff of a billion samples", tiff(&[(256, 4, 10), (257, 4, 10), (258, 3, 8), (277, 4, 1 << 30)])),
        ("tiff of nothing", tiff(&[])),
        ("tiff whose list is not there", b"II*\0\xff\xff\xff\x7f".to_vec()),
        ("tiff whose list is its header", b"II*\0\0\0\0\0".to_vec()),
        ("jpeg of nothing", jpeg(1000, 1000)),
        ("jpeg of no height", jpeg(1000, 0)),
        ("webp of nothing", webp(1000, 1000)),
        ("webp that ends", webp(10, 10)[..20].to_vec()),
    ] {
        refused(what, &bytes);
    }
    // What comes with the pixels may explode as well: texts, colour profiles, and pixels beyond the last one.
    let pixels = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&[[0].as_slice(), &[7; 30]].concat().repeat(10)).unwrap();
        chunk(b"IDAT", &encoder.finish().unwrap())
    };
    let named = |name: &[u8]| [name, &bomb(1 << 30)].concat();
    for (what, bytes) in [
        ("a text", png([10; 2], 8, 2, &[chunk(b"zTXt", &named(b"Comment\0\0")), pixels.clone()])),
        (
            "an international text",
            png([10; 2], 8, 2, &[chunk(b"iTXt", &named(b"Comment\0\x01\0\0\0")), pixels.clone()]),
        ),
        ("a profile", png([10; 2], 8, 2, &[chunk(b"iCCP", &named(b"profile\0\0")), pixels])),
        ("more pixels", png([10; 2], 8, 2, &[chunk(b"IDAT", &bomb(1 << 30))])),
    ] {
        if let Ok(image) = rgb(&bytes, MAX_PIXELS) {
            assert_eq!(image.pixels.dimensions(), (10, 10), "{what}");
        }
        let _ = grey(&bytes, MAX_PIXELS, true);
    }
    // Each file cut anywhere and with any byte changed is read or refused.
    for whole in [
        png([10; 2], 8, 3, &[chunk(b"PLTE", &[9; 6]), chunk(b"IDAT", &bomb(1 << 20))]),
        grey_tiff(4, 4, 8, 16),
        jpeg(16, 16),
        webp(4, 4),
        bmp(2, 2, 24),
    ] {
        for at in 0..whole.len().min(200) {
            let mut changed = whole.clone();
            for value in [0, 1, 0x7f, 0xff] {
                changed[at] = value;
                let _ = (rgb(&changed, MAX_PIXELS), grey(&changed, MAX_PIXELS, true));
            }
            let _ = rgb(&whole[..at], MAX_PIXELS);
        }
    }
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches("kB").trim().parse().unwrap();
        // 16-bit RGBA of all pixels is 8 MiB, tables of decoders may take 64.
        assert!(kilobytes < 200 << 10, "at most {kilobytes} KiB were needed");
    }
}
