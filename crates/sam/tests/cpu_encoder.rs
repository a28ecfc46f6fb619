//! The image encoder on slices computes what the one on tensors computes, whatever the configuration.

use burn::tensor::{Tensor, TensorData};
use resect_checkpoint::SamConfig;
use resect_numeric::{Activation, Precision};
use resect_sam::{Cpu, CpuEncoder, Sam};

/// A small model that takes a fraction of a second.
fn small() -> SamConfig {
    let mut config = SamConfig::named("tiny").unwrap();
    config.vision.num_hidden_layers = 3;
    config.vision.global_attn_indexes = vec![1];
    config
}

fn pixels(images: usize, side: usize) -> Vec<f32> {
    (0..images * 3 * side * side).map(|i| ((i * i % 1009) as f32 / 504.5) - 1.0).collect()
}

/// `max|a - b| / max|b|`, the tensors being `b`.
fn difference(config: &SamConfig, precision: Precision) -> f32 {
    let (pixels, side) = (pixels(2, config.image_size()), config.image_size());
    let found = CpuEncoder::random(config, 9, precision).unwrap().forward(&pixels);
    let encoder = Sam::<Cpu>::random(config, 9, &Default::default()).unwrap().vision_encoder;
    let pixels = Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Default::default());
    let expected = encoder.with_precision(precision).forward(pixels).into_data().to_vec::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |a, b| a.max(b.abs()));
    largest(&mut found.iter().zip(&expected).map(|(a, b)| a - b)) / largest(&mut expected.into_iter())
}

#[test]
fn any_configuration_gives_what_tensors_give() {
    let config = |change: fn(&mut SamConfig)| {
        let mut config = small();
        change(&mut config);
        config.validate().unwrap();
        config
    };
    for (name, config) in [
        ("as it is", config(|_| {})),
        ("windows that fit", config(|c| c.vision.window_size = 4)),
        ("windows that reach over the image", config(|c| c.vision.window_size = 7)),
        ("windows of one token", config(|c| c.vision.window_size = 1)),
        ("a window larger than the image", config(|c| c.vision.window_size = 19)),
        ("global attention alone", config(|c| c.vision.window_size = 0)),
        ("no relative positions", config(|c| c.vision.use_rel_pos = false)),
        ("no absolute positions", config(|c| c.vision.use_abs_pos = false)),
        ("no bias of queries, keys and values", config(|c| c.vision.qkv_bias = false)),
        ("a rectifier", config(|c| c.vision.hidden_act = Activation::Relu)),
        (
            "a grid that no vector fits",
            config(|c| {
                c.vision.image_size = 21 * c.vision.patch_size;
                c.prompt.image_size = c.vision.image_size;
            }),
        ),
    ] {
        let difference = difference(&config, Precision::F32);
        println!("{name}: {difference:.1e}");
        assert!(difference < 5e-6, "{name}: {difference:e}");
    }
}

#[test]
fn narrower_precisions_give_what_tensors_give_to_their_own_error() {
    // Tensors round the results of products, too, and weights of values after they were divided by their sum.
    for (precision, allowed) in [(Precision::Bf16, 2e-2), (Precision::F16, 3e-3)] {
        let difference = difference(&small(), precision);
        println!("{precision}: {difference:.1e}");
        assert!(difference > 0.0 && difference < allowed, "{precision}: {difference:e}");
    }
}
