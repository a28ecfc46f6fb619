use super::*;
use arrow_array::UInt8Array;

/// Kibibytes of a mapped file that are this process's memory.
fn resident(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut of_file = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
    let line = of_file.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn what_is_released_is_no_longer_resident_and_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("numbers.arrow");
    let schema = Schema::new(vec![Field::new("x", DataType::UInt8, false)]);
    let numbers: Vec<u8> = (0..4 << 20).map(|i| (i % 251) as u8).collect();
    let mut writer = IpcWriter::create(&path, schema).unwrap();
    writer.write(vec![Arc::new(UInt8Array::from(numbers.clone()))]).unwrap();
    writer.finish().unwrap();

    let (batches, map) = open(&path).unwrap();
    let column = column::<UInt8Array>(&path, &batches[0], "x").unwrap();
    for _ in 0..2 {
        map.fetch(column.values());
        assert!(column.values() == numbers.as_slice());
        assert!(resident(&path) >= 4096);
        map.release(&column.values()[1 << 20..3 << 20]);
        assert!(resident(&path) <= 2048 + 64, "half is released");
        map.release(map.as_ref());
        assert!(resident(&path) <= 64, "all is released");
    }
    // What lies elsewhere is left alone.
    map.release(&numbers);
    assert!(column.values() == numbers.as_slice());
}
