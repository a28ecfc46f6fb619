//! Arrow files of images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, contents, folder, joined, parts};
use resect_geometry::Size;
use resect_images::{Image, Images, Writer, pixel_hash};

const FILES: [&str; 2] = ["images.json", "images-00000.arrow"];

fn seeds() -> Vec<Vec<u8>> {
    let dir = folder();
    let mut writer = Writer::new(dir.path(), 4);
    for id in ["a", "b", "c"] {
        let (resized, pixels) = (Size::new(2, 4), vec![7; 24]);
        let pixel_hash = pixel_hash(resized, &pixels);
        let image = Image { id: id.into(), pixel_hash, original: Size::new(20, 40), resized, pixels };
        writer.push(image).expect("an image");
    }
    writer.finish().expect("images");
    vec![joined(&contents(dir.path(), FILES))]
}

fuzz_target!(init: begin("images", seeds()), |bytes: &[u8]| {
    let dir = folder();
    for (name, content) in FILES.into_iter().zip(parts::<2>(bytes)) {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    if let Ok(images) = Images::open(dir.path()) {
        for image in images.iter() {
            assert_eq!(image.pixels.len(), 3 * image.resized.pixels());
            pixel_hash(image.resized, image.pixels);
        }
        images.release();
    }
});
