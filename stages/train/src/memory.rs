//! How much memory training takes on the CPU, roughly: enough to refuse at once what cannot fit, and to name what would.

use resect_checkpoint::{SamConfig, parameter_counts};
use resect_layers::memory::bytes;
use resect_numeric::Place;
use resect_tuning::{EncoderTuning, STRATEGIES, Tuning};

use crate::TrainError;

/// What the process takes in any case: the program, tables, masks.
const PROCESS: u64 = 150 << 20;

/// Bytes that training takes on the CPU with `samples` samples of an image together.
///
/// # Errors
/// Blocks that the model does not have.
pub fn on_cpu(config: &SamConfig, tuning: &Tuning, samples: usize) -> Result<u64, TrainError> {
    let tuned: usize = tuning.tuned(config)?.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let vision = &config.vision;
    let (hidden, mlp, blocks) = (vision.hidden_size, vision.mlp_dim, vision.num_hidden_layers);
    let first = match tuning.place(config)? {
        Place::Pixels => Some(0),
        Place::Block(block) => Some(block),
        Place::Neck => None,
    };
    let (frozen, activations) = match first {
        None => (0, 0),
        Some(first) => {
            let share = (blocks - first) as f64 / blocks as f64;
            // Of each block and token: what norms give before and after they are scaled, queries, keys and values, what is attended,
            // and of the MLP what its first layer gives and its slope. Beside them what is added, and the gradients of one block.
            let of_token = 8 * hidden + 2 * mlp;
            let tokens = config.grid().pow(2);
            let all = (blocks - first + 1) * tokens * of_token;
            ((parameter_counts(config).vision_encoder as f64 * share) as usize, all)
        }
    };
    let places = config.grid().pow(2) * config.embedding_channels();
    // The mask decoder keeps about so many tensors of the embedding's size for each sample.
    let decoder = parameter_counts(config).mask_decoder + 36 * places * samples.max(1);
    // Weights, gradient, its sum over passes and both moments; the weights that a step makes, and those that it was made from.
    let numbers = frozen + activations + decoder + 7 * tuned;
    Ok(PROCESS + bytes(numbers))
}

/// Checks that training fits into `available` bytes; says what it takes, about.
///
/// # Errors
/// What does not fit, with the strategies that would.
pub fn check(config: &SamConfig, tuning: &Tuning, samples: usize, available: u64) -> Result<u64, TrainError> {
    let needed = on_cpu(config, tuning, samples)?;
    if needed <= available {
        return Ok(needed);
    }
    let mut fitting = Vec::new();
    for name in STRATEGIES {
        let Some(encoder) = EncoderTuning::of_strategy(name) else { continue };
        let less = on_cpu(config, &Tuning { encoder, decoder: tuning.decoder }, samples)?;
        if less <= available && less < needed {
            fitting.push((less, format!("train.strategy = \"{name}\" takes {}", gigabytes(less))));
        }
    }
    // The strategy that tunes most comes first.
    fitting.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let fitting = fitting.into_iter().map(|(_, line)| line).collect();
    Err(TrainError::Memory { needed, available, fitting })
}

/// `1.9 GB`
pub fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests;
