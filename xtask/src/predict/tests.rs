use super::*;
use resect_prompts::Prompt;

#[test]
fn prompts_find_their_images_by_name_stem_or_path() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    };
    let images = ["a.png", "b.jpg", "left/c.png", "right/c.png", "d.png"].map(make).to_vec();
    let file = dir.path().join("prompts.csv");
    let assigned = |names: &[&str]| {
        let bounds: BoxPrompt = "0,0,1,1".parse().unwrap();
        let prompt = |name: &str| WrittenPrompt { prompt: Prompt::of_box(bounds), from: name.into() };
        let named =
            names.iter().map(|name| ImagePrompts { image: (*name).into(), prompts: vec![prompt(name)] });
        assign(images.clone(), &file, named.collect())
    };
    let jobs = assigned(&["b", "a.png", "right/c.png", "a"]).unwrap();
    let found: Vec<_> = jobs.iter().map(|job| (job.path.clone(), job.prompts.len())).collect();
    assert_eq!(found, [(images[0].clone(), 2), (images[1].clone(), 1), (images[3].clone(), 1)]);
    let error = |names: &[&str]| assigned(names).unwrap_err().to_string();
    assert!(error(&["c.png"]).contains("the image c.png can be any of"));
    assert!(error(&["a.png", "x.png", "y"]).ends_with("not among those of --image: x.png, y"));
}
