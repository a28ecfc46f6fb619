//! The same bits, whatever the number of threads and of images in a batch.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use resect_checkpoint::SamConfig;
use resect_sam::{Cpu, CpuEncoder, ModelPrompt, Precision, PromptEmbeddings, Sam};

fn tiny() -> SamConfig {
    SamConfig::named("tiny").unwrap()
}

fn pixels(images: usize) -> Vec<f32> {
    let side = tiny().image_size();
    (0..images * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs something with so many threads, and without any left over from elsewhere.
fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

#[test]
fn embeddings_have_the_same_bits_with_any_number_of_threads() {
    let (config, pixels) = (tiny(), pixels(1));
    let embed = || bits(&CpuEncoder::random(&config, 5, Precision::F32).unwrap().forward(&pixels));
    let one = with_threads(1, embed);
    for threads in [2, 3, 5] {
        assert!(with_threads(threads, embed) == one, "{threads} threads");
    }
}

#[test]
fn an_image_has_the_same_embedding_in_any_batch() {
    let encoder = CpuEncoder::random(&tiny(), 5, Precision::F32).unwrap();
    let batch = pixels(3);
    let together = bits(&encoder.forward(&batch));
    let (image, embedding) = (batch.len() / 3, together.len() / 3);
    for (i, expected) in together.chunks(embedding).enumerate() {
        assert!(bits(&encoder.forward(&batch[i * image..(i + 1) * image])) == expected, "image {i}");
    }
}

#[test]
fn gradients_have_the_same_bits_with_any_number_of_threads() {
    let one = with_threads(1, gradients);
    assert!(!one.is_empty());
    for threads in [2, 3] {
        assert!(with_threads(threads, gradients) == one, "{threads} threads");
    }
}

fn gradients() -> Vec<u32> {
    type B = Autodiff<Cpu>;
    let (config, device) = (tiny(), Default::default());
    let frozen = Sam::<Cpu>::random(&config, 5, &device).unwrap();
    let trained = Sam::<B>::random(&config, 5, &device).unwrap().mask_decoder;
    let (g, c) = (config.grid(), config.embedding_channels());
    let embeddings = (0..2 * c * g * g).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
    let embeddings = Tensor::from_data(TensorData::new(embeddings, [2, c, g, g]), &device);
    let boxes = [[10.0, 20.0, 99.0, 120.0], [40.0, 4.0, 250.0, 80.0]];
    let prompts = frozen.prompt_encoder.forward(&boxes.map(ModelPrompt::of_box)).unwrap();
    let prompts = PromptEmbeddings {
        sparse: prompts.sparse.map(Tensor::from_inner),
        dense: Tensor::from_inner(prompts.dense),
    };
    let position = Tensor::from_inner(frozen.prompt_encoder.image_positional_encoding());
    let logits = trained.forward_single_mask(embeddings, position, &prompts);
    let gradients = logits.powi_scalar(2).mean().backward();
    let mut collected = Bits::<B> { gradients: &gradients, found: Vec::new() };
    trained.visit(&mut collected);
    collected.found
}

struct Bits<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    found: Vec<u32>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Bits<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.extend(bits(&gradient.into_data().to_vec::<f32>().unwrap()));
        }
    }
}
