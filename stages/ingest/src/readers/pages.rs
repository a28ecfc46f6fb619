//! What the pages of a Parquet file claim to hold once decompressed. Whoever reads one makes room for that first, so a file of a
//! kilobyte could have gigabytes asked for.
//!
//! A page header is a struct in Thrift's compact protocol: type, uncompressed and compressed length are its fields 1 to 3.

use parquet::file::metadata::ColumnChunkMetaData;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

/// Bytes of the largest page and of the largest dictionary.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Claims {
    pub page: u64,
    pub dictionary: u64,
}

impl Claims {
    /// Takes in what the pages of a column chunk claim.
    ///
    /// # Errors
    /// When a header cannot be read.
    pub fn add(&mut self, file: &File, chunk: &ColumnChunkMetaData) -> io::Result<()> {
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let mut at = u64::try_from(start).map_err(damaged)?;
        let length = u64::try_from(chunk.compressed_size()).map_err(damaged)?;
        let end = at.checked_add(length).ok_or_else(|| damaged("a column without an end"))?;
        if end > file.metadata()?.len() {
            return Err(damaged("a column reaches beyond the end of the file"));
        }
        let mut reader = BufReader::new(file);
        while at < end {
            reader.seek(SeekFrom::Start(at))?;
            let header = Header::read(&mut reader)?;
            let size = u64::try_from(header.uncompressed).map_err(damaged)?;
            self.page = self.page.max(size);
            if header.kind == DICTIONARY {
                self.dictionary = self.dictionary.max(size);
            }
            at = reader.stream_position()? + u64::try_from(header.compressed).map_err(damaged)?;
        }
        Ok(())
    }
}

/// The page type of a dictionary.
const DICTIONARY: i64 = 2;
/// Structs within structs of a header: statistics are one deep.
const DEEPEST: u32 = 8;

#[derive(Default)]
struct Header {
    kind: i64,
    uncompressed: i64,
    compressed: i64,
}

impl Header {
    fn read(reader: &mut (impl BufRead + Seek)) -> io::Result<Self> {
        let mut header = Self::default();
        let mut id = 0;
        while let Some(kind) = field(reader, &mut id)? {
            match (id, kind) {
                (1, 5) => header.kind = zigzag(reader)?,
                (2, 5) => header.uncompressed = zigzag(reader)?,
                (3, 5) => header.compressed = zigzag(reader)?,
                _ => skip(reader, kind, DEEPEST)?,
            }
        }
        Ok(header)
    }
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The type of the next field, whose number `id` becomes; none at the end of the struct.
fn field(reader: &mut impl Read, id: &mut i64) -> io::Result<Option<u8>> {
    let head = byte(reader)?;
    if head == 0 {
        return Ok(None);
    }
    *id = match head >> 4 {
        0 => zigzag(reader)?,
        step => id.wrapping_add(step.into()),
    };
    Ok(Some(head & 0xf))
}

fn skip(reader: &mut (impl BufRead + Seek), kind: u8, depth: u32) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or_else(|| damaged("a page header of many levels"))?;
    match kind {
        // A boolean is in its type.
        1 | 2 => Ok(()),
        3 => byte(reader).map(drop),
        4..=6 => varint(reader).map(drop),
        7 => reader.seek_relative(8),
        8 => {
            let length = i64::try_from(varint(reader)?).map_err(damaged)?;
            reader.seek_relative(length)
        }
        12 => {
            let mut id = 0;
            while let Some(kind) = field(reader, &mut id)? {
                skip(reader, kind, depth)?;
            }
            Ok(())
        }
        // No page header has a list or a map.
        _ => Err(damaged("a page header with something unknown in it")),
    }
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn varint(reader: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(reader)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(damaged("a number beyond 64 bits in a page header"))
}

fn zigzag(reader: &mut impl Read) -> io::Result<i64> {
    varint(reader).map(|number| (number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests;
