//! A dataset of one folder: `splits.csv`, an image and a mask.
#![no_main]

use image::ImageFormat;
use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, colour, folder, joined, mask, parts, picture};
use resect_ingest_params::{IngestLimits, IngestParams, Layout, MaskParams, SplitParams};

fn seeds() -> Vec<Vec<u8>> {
    let seed = |splits: &str, format| {
        joined(&[splits.into(), picture(colour(), format), picture(mask(), ImageFormat::Png)])
    };
    vec![
        seed("id,split,group\na,train,p\nb,test,q\n", ImageFormat::Png),
        seed("\u{feff}split,id\ntrain,\"a\"\ntest,b\n", ImageFormat::Jpeg),
    ]
}

fuzz_target!(init: begin("folder", seeds()), |bytes: &[u8]| {
    let [splits, image, mask] = parts(bytes);
    let dir = folder();
    for part in ["images", "masks"] {
        std::fs::create_dir(dir.path().join(part)).expect("a folder");
    }
    for (name, content) in [
        ("splits.csv", splits),
        ("images/a.png", image),
        ("masks/a.png", mask),
        ("images/b.png", image),
        ("masks/b.png", mask),
    ] {
        std::fs::write(dir.path().join(name), content).expect("a file");
    }
    let params = IngestParams {
        layout: Layout::Folder,
        mask: MaskParams { speck_pixels: 2, ..MaskParams::default() },
        split: SplitParams::default(),
        image_size: 32,
        low_res_size: 8,
        ingest: IngestLimits { max_pixels: 1 << 16, ..IngestLimits::default() },
    };
    let _ = resect_ingest::outside::samples(dir.path(), &params);
});
