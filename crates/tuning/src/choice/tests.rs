use super::*;

fn config() -> SamConfig {
    SamConfig::named("vit-b").unwrap()
}

fn lora(blocks: Blocks, targets: &[LoraTarget], rank: u32) -> Tuning {
    let encoder = EncoderTuning {
        tune: EncoderTune::Lora,
        blocks,
        targets: targets.to_vec(),
        rank,
        alpha: f64::from(rank),
    };
    Tuning { encoder, ..Tuning::default() }
}

fn parameters(tuning: &Tuning, of: &str) -> usize {
    let tuned = tuning.tuned(&config()).unwrap().into_iter();
    tuned.filter(|(name, _)| name.starts_with(of)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Counted from `SamModel` with peft.
#[test]
fn as_many_parameters_are_tuned_as_by_the_reference() {
    use LoraTarget::{Mlp, Proj, Q, Qkv, V};
    for (targets, rank, expected) in [
        (&[Qkv][..], 4, 147_456),
        (&[Q, V], 4, 147_456),
        (&[Qkv, Proj], 8, 442_368),
        (&[Qkv, Proj, Mlp], 16, 2_359_296),
    ] {
        assert_eq!(parameters(&lora(Blocks::All, targets, rank), ENCODER), expected, "{targets:?} {rank}");
    }
    assert_eq!(parameters(&lora(Blocks::Late, &[Qkv, Proj, Mlp], 4), ENCODER), 294_912);
    let full = EncoderTuning { tune: EncoderTune::Full, ..EncoderTuning::default() };
    let full = Tuning { encoder: full, ..Tuning::default() };
    assert_eq!(parameters(&full, ENCODER), 89_670_912);
    assert_eq!(parameters(&full, DECODER), 4_058_340);
    let late = EncoderTuning { blocks: Blocks::From(6), ..full.encoder.clone() };
    assert_eq!(parameters(&Tuning { encoder: late, ..full }, ENCODER), 42_573_568 + 787_456);
}

#[test]
fn features_are_taken_before_the_first_tuned_block() {
    let place = |tuning: Tuning| tuning.place(&config()).unwrap();
    assert_eq!(place(Tuning::default()), Place::Neck);
    assert_eq!(place(lora(Blocks::Late, &[LoraTarget::Qkv], 4)), Place::Block(6));
    assert_eq!(place(lora(Blocks::List(vec![3, 11]), &[LoraTarget::Qkv], 4)), Place::Block(3));
    assert_eq!(place(lora(Blocks::All, &[LoraTarget::Qkv], 4)), Place::Pixels);
}

#[test]
fn what_the_model_cannot_have_is_named_by_its_setting() {
    let refused = |tuning: Tuning| tuning.check(&config()).unwrap_err().to_string();
    assert_eq!(
        refused(lora(Blocks::From(12), &[LoraTarget::Qkv], 4)),
        "train.encoder.blocks chooses no block: the model has the blocks 0 to 11, it is \"12..\""
    );
    assert!(refused(lora(Blocks::All, &[], 4)).starts_with("train.encoder.targets"));
    assert!(refused(lora(Blocks::All, &[LoraTarget::Q, LoraTarget::Q], 4)).contains("\"q\" twice"));
    assert!(refused(lora(Blocks::All, &[LoraTarget::Q], 0)).starts_with("train.encoder.rank"));
    let mut tuning = lora(Blocks::All, &[LoraTarget::Q], 4);
    tuning.encoder.alpha = f64::NAN;
    assert!(refused(tuning).starts_with("train.encoder.alpha"));
    let nothing = Tuning { decoder: DecoderTuning { tune: DecoderTune::None }, ..Tuning::default() };
    assert!(refused(nothing).starts_with("train.decoder.tune"));
    assert!(Tuning::default().check(&config()).is_ok());
}
