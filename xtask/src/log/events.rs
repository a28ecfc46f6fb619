//! Event files as TensorBoard reads them: records of TFRecord framing, each an `Event` of `tensorflow/core/util/event.proto`.
//!
//! A record is its length (u64), the length's checksum, the bytes, and theirs; checksums are masked CRC-32C, all little-endian
//! (`tensorflow/core/lib/io/record_writer.h`). Of the messages only the fields that scalars need are written.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An event file that grows.
pub struct Events(File);

impl Events {
    /// Begins a file in a folder. TensorBoard knows it by `tfevents` in its name.
    pub fn create(dir: &Path) -> std::io::Result<Self> {
        let name = format!("events.out.tfevents.{:010}.resect", now().as_secs());
        let mut events = Self(File::create(dir.join(name))?);
        let mut event = head();
        bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Writes scalars of a step, in one record; none writes nothing.
    pub fn write(&mut self, step: i64, scalars: impl Iterator<Item = (String, f64)>) -> std::io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, FIXED32);
            entry.extend((value as f32).to_le_bytes());
            bytes(&mut summary, 1, &entry);
        }
        if summary.is_empty() {
            return Ok(());
        }
        let mut event = head();
        key(&mut event, 2, VARINT);
        varint(&mut event, step as u64);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    /// One write, so that a reader sees whole records.
    fn record(&mut self, event: &[u8]) -> std::io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let parts = [&length[..], &masked(&length), event, &masked(event)];
        self.0.write_all(&parts.concat())
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// An event with its wall time, in seconds.
fn head() -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED64);
    event.extend(now().as_secs_f64().to_le_bytes());
    event
}

// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    key(out, field, BYTES);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// CRC-32C (Castagnoli), bit by bit: the records are short.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests;
