use super::*;

fn tuning(encoder: EncoderTuning) -> Tuning {
    Tuning { encoder, ..Tuning::default() }
}

fn strategy(name: &str) -> EncoderTuning {
    EncoderTuning::of_strategy(name).unwrap()
}

#[test]
fn what_tunes_more_takes_more() {
    let config = SamConfig::named("vit-b").unwrap();
    let needs = ["decoder", "late-lora", "lora", "full"]
        .map(|name| on_cpu(&config, &tuning(strategy(name)), 1).unwrap());
    assert!(needs.is_sorted_by(|a, b| a < b), "{needs:?}");
}

#[test]
fn what_does_not_fit_is_told_with_what_would() {
    let config = SamConfig::named("vit-b").unwrap();
    let [lora, late, decoder] = ["lora", "late-lora", "decoder"].map(strategy);
    let of = |encoder: &EncoderTuning| on_cpu(&config, &tuning(encoder.clone()), 1).unwrap();
    assert_eq!(check(&config, &tuning(lora.clone()), 1, u64::MAX).unwrap(), of(&lora));
    let error = check(&config, &tuning(lora.clone()), 1, of(&late)).unwrap_err().to_string();
    assert!(error.contains("training takes about") && error.contains("\"late-lora\" takes"), "{error}");
    assert!(error.contains("\"decoder\" takes") && !error.contains("\"lora\" takes"), "{error}");
    let error = check(&config, &tuning(decoder.clone()), 1, of(&decoder) - 1).unwrap_err().to_string();
    assert!(!error.contains("hint"), "{error}");
}
