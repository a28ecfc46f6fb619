use resect_checkpoint::{NAMED_CONFIGS, POSITIONAL_EMBEDDING, POSITIONAL_EMBEDDING_ALIAS, tensors};

use super::*;
use crate::Cpu;

/// The names and shapes of a module's parameters as the checkpoint has them, without making any weight.
struct Shapes {
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for Shapes {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if self.path.is_transposed() {
            shape.reverse();
        }
        let name = match self.path.name() {
            name if name == POSITIONAL_EMBEDDING_ALIAS => POSITIONAL_EMBEDDING.into(),
            name => name,
        };
        assert_eq!(self.found.insert(name.clone(), shape), None, "{name} occurs twice");
    }
}

fn shapes<M: Module<Cpu>>(module: &M, prefix: &'static str) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes { path: Path::new(prefix), found: BTreeMap::new() };
    module.visit(&mut shapes);
    shapes.found
}

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
        let mut found = shapes(&ImageEncoder::<Cpu>::new(&config, &device), VISION_ENCODER);
        found.extend(shapes(&PromptEncoder::<Cpu>::new(&config, &device), PROMPT_ENCODER));
        found.extend(shapes(&MaskDecoder::<Cpu>::new(&config, &device), MASK_DECODER));
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
