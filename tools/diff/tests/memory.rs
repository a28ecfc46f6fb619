//! What a comparison takes of memory: a test of its own process, because the peak is the whole process's.

#![cfg(target_os = "linux")]

use resect_embeddings::{SHARD_ROWS, Writer};
use resect_geometry::View;
use resect_numeric::Dtype;

/// 256 KiB an embedding, 4 MiB a shard.
const SHAPE: [usize; 3] = [256, 16, 16];
const SHARDS: usize = 20;

/// The largest resident memory of this process, in KiB.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn memory_does_not_grow_with_the_artifacts() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..SHARDS * SHARD_ROWS).map(|row| row.to_string()).collect();
    let rows: Vec<(&str, View)> = names.iter().map(|name| (name.as_str(), View::Identity)).collect();
    let paths = [1.0, 2.0].map(|value| {
        let path = dir.path().join(value.to_string());
        std::fs::create_dir(&path).unwrap();
        let writer = Writer::new(&path, SHAPE, Dtype::F32);
        let values = vec![value; SHARD_ROWS * SHAPE.iter().product::<usize>()];
        (0..SHARDS).for_each(|shard| writer.write_shard(shard, &values).unwrap());
        writer.finish(&rows).unwrap();
        path
    });
    let before = peak();
    let report = resect_diff::compare(&paths[0], &paths[1]).unwrap();
    assert_eq!(report.numbers[0].differing as usize, rows.len() * SHAPE.iter().product::<usize>());
    let grown = peak() - before;
    assert!(grown < 24 << 10, "{grown} KiB more for two artifacts of {} MiB", 4 * SHARDS);
}
