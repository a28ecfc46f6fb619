//! The same bits, whatever the number of threads and of images in a batch.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use burn_autodiff::Autodiff;
use resect_checkpoint::SamConfig;
use resect_sam::{Cpu, PromptEmbeddings, Prompts, Sam};

fn tiny() -> SamConfig {
    SamConfig::named("tiny").unwrap()
}

fn pixels(images: usize, side: usize) -> Tensor<Cpu, 4> {
    let values = (0..images * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [images, 3, side, side]), &Default::default())
}

fn bits<B: burn::tensor::backend::Backend, const D: usize>(t: Tensor<B, D>) -> Vec<u32> {
    t.into_data().to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Runs something with so many threads, and without any left over from elsewhere.
fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

#[test]
fn embeddings_have_the_same_bits_with_any_number_of_threads() {
    let embed = || {
        let sam = Sam::<Cpu>::random(&tiny(), 5, &Default::default()).unwrap();
        bits(sam.vision_encoder.forward(pixels(1, tiny().image_size())))
    };
    let one = with_threads(1, embed);
    for threads in [2, 3, 5] {
        assert!(with_threads(threads, embed) == one, "{threads} threads");
    }
}

#[test]
fn an_image_has_the_same_embedding_in_any_batch() {
    let sam = Sam::<Cpu>::random(&tiny(), 5, &Default::default()).unwrap();
    let batch = pixels(3, tiny().image_size());
    let together = sam.vision_encoder.forward(batch.clone());
    for image in 0..3 {
        let alone = sam.vision_encoder.forward(batch.clone().slice_dim(0, image..image + 1));
        assert!(bits(alone) == bits(together.clone().slice_dim(0, image..image + 1)), "image {image}");
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
    let prompts = frozen.prompt_encoder.forward(&Prompts::boxes(&boxes, &device).unwrap());
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
            self.found.extend(bits(gradient));
        }
    }
}
