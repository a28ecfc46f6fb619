use super::*;
use resect_sam::Cpu;

#[test]
fn what_a_prompt_gives_does_not_depend_on_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    resect_checkpoint::write_random(dir.path(), &SamConfig::named("tiny").unwrap(), 5).unwrap();
    let mut model =
        Model::<Cpu>::load(open(dir.path()).unwrap(), None, 8, &Default::default(), on_slices).unwrap();
    let size = Size::new(200, 256);
    let pixels: Vec<u8> = (0..3 * size.pixels()).map(|i| (i * 7919 % 251) as u8).collect();
    let embedding = model.encode(&pixels, size).unwrap();
    let point = |x: f32, label| Point { x, y: 40.0, label };
    let bounds = |x: f32| Some([x, 10.0, x + 60.0, 90.0]);
    let grid: Vec<f32> = (0..model.config().low_res().pow(2)).map(|i| (i % 17) as f32 - 8.0).collect();
    let mut prompts = Vec::new();
    // More of one form than pass together, and all other forms among them.
    for i in 0..10 {
        let x = 11.0 * i as f32;
        prompts.push(ModelPrompt { bounds: bounds(x), points: vec![], mask: None });
        let points = vec![point(x, PointLabel::Foreground); 1 + i % 3];
        prompts.push(ModelPrompt { bounds: None, points: points.clone(), mask: None });
        prompts.push(ModelPrompt { bounds: bounds(x), points, mask: (i % 2 == 0).then(|| grid.clone()) });
    }
    prompts.push(ModelPrompt { bounds: None, points: vec![], mask: Some(grid) });
    for multimask in [false, true] {
        let together = model.decode(&embedding, &prompts, multimask).unwrap();
        assert_eq!(together.len(), prompts.len());
        for (prompt, among_others) in prompts.iter().zip(&together) {
            let [alone] = model
                .decode(&embedding, std::slice::from_ref(prompt), multimask)
                .unwrap()
                .try_into()
                .unwrap();
            assert_eq!(&alone, among_others);
        }
        assert_ne!(together[0], together[3], "prompts matter");
        assert_ne!(together[0], together[2]);
    }
}
