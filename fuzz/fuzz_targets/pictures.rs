//! Picture files of any format, as images, as masks, as masks of labels, and their sizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, pictures};
use resect_ingest_params::MaskParams;
use std::io::Cursor;

const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(init: begin("pictures", pictures()), |bytes: &[u8]| {
    let size = resect_pixels::upright_size(Cursor::new(bytes), MAX_PIXELS);
    if let Ok(image) = resect_pixels::rgb(bytes, MAX_PIXELS) {
        let (width, height) = image.pixels.dimensions();
        assert!(u64::from(width) * u64::from(height) <= MAX_PIXELS);
        // Whatever can be decoded has a size, and it is that one.
        let size = size.expect("a size");
        assert_eq!((size.width, size.height), (width, height));
        resect_pixels::resized(&image.pixels, size.with_longest_side(64));
    }
    for (as_labels, labels) in [(false, vec![]), (true, vec![1, 3])] {
        let Ok(grey) = resect_pixels::grey(bytes, MAX_PIXELS, as_labels) else { continue };
        assert_eq!(grey.values.len(), grey.size.pixels());
        let params = MaskParams { labels, speck_pixels: 2, ..MaskParams::default() };
        for mask in resect_ingest::outside::pieces(grey.size, grey.values, &params).unwrap_or_default() {
            assert!(mask.pixels().contains(&true));
        }
    }
});
