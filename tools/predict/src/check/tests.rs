use super::*;
use crate::model::on_tensors;
use resect_checkpoint::{SamConfig, write_random};

#[test]
fn a_device_of_other_weights_is_told_from_one_that_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let bases = [1, 2].map(|seed| {
        let path = dir.path().join(seed.to_string());
        write_random(&path, &SamConfig::named("tiny").unwrap(), seed).unwrap();
        path
    });
    let size = Size::new(200, 256);
    let pixels: Vec<u8> = (0..3 * size.pixels()).map(|i| (i * 7919 % 251) as u8).collect();
    let prompt = ModelPrompt { bounds: Some([20.0, 10.0, 90.0, 80.0]), points: Vec::new(), mask: None };
    let job = Job::new(bases[0].clone(), dir.path().join("out"));
    // The CPU backend's tensors stand for a GPU; a model of other weights for one that computes something else.
    let agrees = |base: &Path| {
        let mut model =
            Model::<Cpu>::load(open(base).unwrap(), None, 8, &Default::default(), on_tensors).unwrap();
        agree(&mut model, &job, Path::new("polyp.jpg"), (&pixels, size), &prompt)
    };
    let said = agrees(&bases[0]).unwrap();
    assert!(said.starts_with("agrees with the CPU on the first image: the embedding to "), "{said}");
    let error = agrees(&bases[1]).unwrap_err().to_string();
    for part in ["the embedding of polyp.jpg differs by", "is allowed", "--device cpu"] {
        assert!(error.contains(part), "{part} is not in\n{error}");
    }
}
