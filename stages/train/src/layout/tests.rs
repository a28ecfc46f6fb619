use super::*;
use crate::model::Needed;
use burn::module::AutodiffModule;
use burn::tensor::DType;
use burn_autodiff::Autodiff;
use resect_checkpoint::{NamedTensor, SamConfig, random};
use resect_layers::Cpu;
use resect_sam::is_operand;
use resect_tuning::Tuning;

fn roles() -> Roles {
    Roles::new(&SamConfig::named("tiny").unwrap(), &Tuning::default()).unwrap()
}

fn load<B: Backend>(tensors: Vec<NamedTensor>) -> Model<B> {
    let config = SamConfig::named("tiny").unwrap();
    Model::load(&config, &roles(), tensors, None, Needed::All, &Default::default()).unwrap()
}

/// A model of which the decoder is tuned.
fn model(seed: u64) -> Model<Cpu> {
    let decoder = |tensor: &NamedTensor| tensor.name.starts_with("mask_decoder.");
    load(random(&SamConfig::named("tiny").unwrap(), seed).filter(decoder).collect())
}

/// Those of names for which something holds.
fn of(model: &Model<Cpu>, wanted: impl Fn(&str) -> bool) -> Vec<NamedTensor> {
    model.tensors(&roles()).into_iter().filter(|tensor| wanted(&tensor.name)).collect()
}

#[test]
fn what_is_gathered_is_spread_again() {
    let (one, other) = (model(1), model(2));
    let layout = Layout::new(&one, &roles());
    let spread = layout.spread(layout.gathered(&other, &Default::default()), one.clone());
    let still = |name: &str| name.contains("iou_prediction_head");
    assert_eq!(of(&spread, |name| !still(name)), of(&other, |name| !still(name)));
    assert_eq!(of(&spread, still), of(&one, still));
}

#[test]
fn only_operands_are_rounded() {
    let (one, roles) = (model(1), roles());
    let layout = Layout::new(&one, &roles);
    let learning = load::<Autodiff<Cpu>>(one.tensors(&roles));
    let vector = layout.gathered(&one, &Default::default());
    let spread = layout.spread_to_learn(vector, Some(FloatDType::BF16), learning).valid();
    let exact = |name: &str| !is_operand(name) || !roles.learns(name);
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
    let layout = Layout::new(&model(1), &roles());
    let mut places: Vec<_> = layout.places.iter().flatten().cloned().collect();
    places.sort_by_key(|numbers| numbers.start);
    assert!(places.iter().all(|numbers| numbers.start.is_multiple_of(ALIGNMENT)));
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(places.last().unwrap().end <= layout.length && layout.length.is_multiple_of(ALIGNMENT));
}
