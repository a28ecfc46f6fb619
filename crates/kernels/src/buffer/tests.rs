use super::*;

#[test]
fn a_size_wastes_at_most_an_eighth() {
    for len in LEAST..LEAST * 5 {
        let size = size_class(len);
        assert!(size >= len && size - len <= len / 8, "{len} in {size}");
        assert_eq!(size_class(size), size);
    }
}

#[test]
fn buffers_have_the_length_asked_for_and_are_writable() {
    for len in [0, 1, LEAST - 1, LEAST, LEAST + 1, 100_003] {
        let mut buffer = Buffer::stale(len);
        assert_eq!(buffer.len(), len);
        buffer.fill(2.0);
        assert_eq!(*Buffer::copy_of(&buffer), *buffer);
        drop(buffer);
        assert!(Buffer::zeros(len).iter().all(|x| *x == 0.0));
    }
}

/// A pool of its own, so that other tests do not change the numbers.
fn empty() -> Pool {
    Pool { free: BTreeMap::new(), idle: 0, live: 0, peak: 0 }
}

#[test]
fn storage_serves_again_and_the_pool_stays_within_its_limit() {
    let mut pool = empty();
    assert_eq!(pool.take(800), None);
    assert_eq!(pool.take(200), None);
    pool.put(vec![1.0; 800]);
    assert_eq!((pool.live, pool.idle, pool.peak), (200, 800, 1000));
    assert_eq!(pool.take(800).map(|storage| storage.len()), Some(800));
    pool.put(vec![0.0; 800]);
    pool.put(vec![0.0; 200]);
    // Other sizes push out idle storage as soon as both together exceed 5/4 of the peak.
    for size in [300, 400] {
        assert_eq!(pool.take(size), None);
        assert!(pool.live + pool.idle <= pool.peak * 5 / 4);
    }
    assert_eq!(pool.live, 700);
    pool.release();
    assert_eq!((pool.idle, pool.peak), (0, 700));
}
