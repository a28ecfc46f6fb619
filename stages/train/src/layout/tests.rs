use super::*;
use burn::module::AutodiffModule;
use burn::tensor::DType;
use burn_autodiff::Autodiff;
use resect_checkpoint::NamedTensor;
use resect_checkpoint::{Part, SamConfig, part_tensors, random};
use resect_layers::Cpu;

fn decoder(seed: u64) -> MaskDecoder<Cpu> {
    let config = SamConfig::named("tiny").unwrap();
    let names: Vec<_> = part_tensors(&config, Part::MaskDecoder).into_iter().map(|spec| spec.name).collect();
    let tensors = random(&config, seed).filter(|tensor| names.contains(&tensor.name)).collect();
    MaskDecoder::from_tensors(&config, tensors, &Default::default()).unwrap()
}

/// Those of names for which something holds.
fn of(decoder: &MaskDecoder<Cpu>, wanted: impl Fn(&str) -> bool) -> Vec<NamedTensor> {
    decoder.tensors().into_iter().filter(|tensor| wanted(&tensor.name)).collect()
}

#[test]
fn what_is_gathered_is_spread_again() {
    let (one, other) = (decoder(1), decoder(2));
    let layout = Layout::new(&one);
    let spread = layout.spread(layout.gathered(&other, &Default::default()), one.clone());
    let still = |name: &str| name.contains("iou_prediction_head");
    assert_eq!(of(&spread, |name| !still(name)), of(&other, |name| !still(name)));
    assert_eq!(of(&spread, still), of(&one, still));
}

#[test]
fn only_operands_are_rounded() {
    let one = decoder(1);
    let layout = Layout::new(&one);
    let learning = MaskDecoder::<Autodiff<Cpu>>::from_tensors(
        &SamConfig::named("tiny").unwrap(),
        one.tensors(),
        &Default::default(),
    );
    let vector = layout.gathered(&one, &Default::default());
    let spread = layout.spread_to_learn(vector, Some(FloatDType::BF16), learning.unwrap()).valid();
    let exact = |name: &str| !is_operand(name) || !learns(name);
    assert_eq!(of(&spread, exact), of(&one, exact));
    for (rounded, came) in of(&spread, |name| !exact(name)).iter().zip(of(&one, |name| !exact(name))) {
        let (rounded, came) = (rounded.data.iter(), came.data.iter());
        assert!(rounded.zip(came).all(|(a, b)| (a - b).abs() <= b.abs() / 256.0));
    }
    assert_ne!(of(&spread, |name| !exact(name)), of(&one, |name| !exact(name)));
    // Gathered, they are in single precision again.
    assert_eq!(layout.gathered(&spread, &Default::default()).dtype(), DType::F32);
}

#[test]
fn parameters_are_aligned_and_apart() {
    let layout = Layout::new(&decoder(1));
    let mut places: Vec<_> = layout.places.iter().flatten().cloned().collect();
    places.sort_by_key(|numbers| numbers.start);
    assert!(places.iter().all(|numbers| numbers.start.is_multiple_of(ALIGNMENT)));
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(places.last().unwrap().end <= layout.length && layout.length.is_multiple_of(ALIGNMENT));
}
