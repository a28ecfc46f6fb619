//! Prompts files. The first byte says whether it is CSV or JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resect_fuzz::{begin, folder};
use resect_geometry::Size;

fn seeds() -> Vec<Vec<u8>> {
    [
        "0image,x0,y0,x1,y1\nb.png,1,2,3.5,4\na.png,0,0,5,5\n",
        "0image,prompt,x0,y0,x1,y1,x,y,label,mask\na.png,left,1,2,3,4,,,,\na.png,left,,,,,2,3,1,\na.png,right,5,5,9,9,6,6,0,m.png\n",
        r#"1[{"image": "a.png", "box": [1, 2, 3, 4], "points": [[1, 2, 0]]}, {"image": "b.png", "mask": "m.png"}]"#,
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}

fuzz_target!(init: begin("prompts", seeds()), |bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else { return };
    let dir = folder();
    let path = dir.path().join(if kind & 1 == 0 { "prompts.csv" } else { "prompts.json" });
    std::fs::write(&path, text).expect("a file");
    match resect_prompts::file::read(&path) {
        Ok(images) => {
            assert!(!images.is_empty());
            for prompt in images.iter().flat_map(|image| &image.prompts) {
                assert!(prompt.bounds.is_some() || !prompt.points.is_empty() || prompt.mask.is_some());
                let _ = (prompt.check(Size::new(50, 100)), prompt.to_string());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
