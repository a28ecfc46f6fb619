use resect_checkpoint::{NAMED_CONFIGS, tensors};
use resect_encoder::{ImageEncoder, VISION_ENCODER};
use resect_layers::{Cpu, parameter_shapes};

use super::*;

#[test]
fn the_model_and_the_table_of_tensors_agree_exactly() {
    let device = Default::default();
    let mut configs: Vec<_> = NAMED_CONFIGS.iter().map(|name| SamConfig::named(name).unwrap()).collect();
    let mut odd = SamConfig::named("tiny").unwrap();
    (odd.vision.qkv_bias, odd.vision.use_abs_pos, odd.vision.use_rel_pos) = (false, false, false);
    (odd.decoder.attention_downsample_rate, odd.decoder.iou_head_depth) = (4, 5);
    odd.decoder.num_multimask_outputs = 1;
    configs.push(odd);
    for config in configs {
        assert_eq!(config.validate(), Ok(()));
        let mut all = parameter_shapes(&ImageEncoder::<Cpu>::new(&config, &device), VISION_ENCODER);
        all.extend(parameter_shapes(&PromptEncoder::<Cpu>::new(&config, &device), PROMPT_ENCODER));
        all.extend(parameter_shapes(&MaskDecoder::<Cpu>::new(&config, &device), MASK_DECODER));
        let mut found = BTreeMap::new();
        for (name, shape) in all {
            let name = if name == POSITIONAL_EMBEDDING_ALIAS { POSITIONAL_EMBEDDING.into() } else { name };
            assert_eq!(found.insert(name.clone(), shape), None, "{name} occurs twice");
        }
        let expected: BTreeMap<_, _> = tensors(&config).into_iter().map(|s| (s.name, s.shape)).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_decoder_comes_back_from_its_tensors_and_names_are_unique() {
    let (config, device) = (SamConfig::named("tiny").unwrap(), Default::default());
    let tensors: Vec<_> = random(&config, 3).filter(|t| t.name.starts_with(MASK_DECODER)).collect();
    let decoder = MaskDecoder::<Cpu>::from_tensors(&config, tensors.clone(), &device).unwrap();
    let sorted = |mut t: Vec<NamedTensor>| {
        t.sort_by(|a, b| a.name.cmp(&b.name));
        t
    };
    assert_eq!(sorted(decoder.tensors()), sorted(tensors.clone()));
    let mut names: Vec<_> = decoder.parameter_names().into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, sorted(tensors).into_iter().map(|t| t.name).collect::<Vec<_>>());
}

#[test]
fn a_decoder_of_unfitting_tensors_is_refused_with_every_name() {
    let (config, device) = (SamConfig::named("tiny").unwrap(), Default::default());
    let mut tensors: Vec<_> = random(&config, 3).filter(|t| t.name.starts_with(MASK_DECODER)).collect();
    tensors[0].name = "mask_decoder.other".into();
    tensors[1] = NamedTensor { name: tensors[1].name.clone(), shape: vec![1], data: vec![0.0] };
    let message = MaskDecoder::<Cpu>::from_tensors(&config, tensors, &device).unwrap_err().to_string();
    for line in [
        "missing    mask_decoder.iou_token",
        "unused     mask_decoder.other",
        "misshapen  mask_decoder.mask_",
    ] {
        assert!(message.contains(line), "{message}");
    }
}
