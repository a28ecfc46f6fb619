//! Products with rounded operands against PyTorch: values, and gradients, which need the rounding of gradients, too.
//!
//! `tests/reference/precision_reference.py` made the fixture. Some gradients are subnormal in half precision.

use resect_checkpoint::TensorFile;
use resect_numeric::Precision;
use resect_tape::{Activation, Linear, Tape, Value, gradients};
use std::path::PathBuf;

/// Largest difference allowed, relative to the largest value: sums are in single precision, in another order.
const TOLERANCE: f32 = 1e-6;

/// A case of the fixture.
struct Case {
    file: TensorFile,
    prefix: String,
}

impl Case {
    fn new(precision: Precision, name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/precision/products.safetensors");
        Self { file: TensorFile::open(&path).unwrap(), prefix: format!("{precision}.{name}") }
    }

    fn get(&self, name: &str) -> Vec<f32> {
        self.file.tensor(&format!("{}.{name}", self.prefix)).unwrap().data
    }

    /// An operand as the first of two parameters that a tape stacks, so that it has a gradient.
    fn stacked(&self, name: &str) -> [Vec<f32>; 2] {
        [self.get(name), Vec::new()]
    }

    /// The largest error of the result and of the gradients of operands, the latter as `named` in the fixture.
    fn errors(
        &self,
        parameters: &[Vec<f32>],
        tape: &mut Tape,
        y: Value,
        named: &[(&str, usize)],
    ) -> Vec<f32> {
        let mut errors = vec![error(tape.value(y), &self.get("result"))];
        tape.backward(parameters, y, self.get("result.gradient").into_iter());
        let mut sums: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        gradients(&[tape], &mut sums);
        for (name, parameter) in named {
            errors.push(error(&sums[*parameter], &self.get(&format!("{name}.gradient"))));
        }
        errors
    }

    fn linear(&self, precision: Precision) -> Vec<f32> {
        let [x, none] = self.stacked("x");
        let parameters = [x, none, self.get("weight"), self.get("bias")];
        let mut tape = Tape::default();
        tape.clear(precision);
        let x = tape.stack(&parameters, [0, 1], &[], 24);
        let y = tape.linear(&parameters, Linear { weight: 2, bias: 3 }, x, Activation::None);
        self.errors(&parameters, &mut tape, y, &[("x", 0), ("weight", 2), ("bias", 3)])
    }

    fn attention(&self, precision: Precision) -> Vec<f32> {
        let parameters: Vec<_> = ["q", "k", "v"].into_iter().flat_map(|name| self.stacked(name)).collect();
        let mut tape = Tape::default();
        tape.clear(precision);
        let [q, k, v] = [0, 2, 4].map(|place| tape.stack(&parameters, [place, place + 1], &[], 8));
        let y = tape.attention(q, k, v, 2);
        self.errors(&parameters, &mut tape, y, &[("q", 0), ("k", 2), ("v", 4)])
    }
}

fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    found.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

#[test]
fn operands_and_gradients_are_rounded_as_by_pytorch() {
    for precision in [Precision::Bf16, Precision::F16] {
        for name in ["linear", "few", "many"] {
            let case = Case::new(precision, name);
            let run = |precision| match name {
                "linear" => case.linear(precision),
                _ => case.attention(precision),
            };
            let (errors, unrounded) = (run(precision), run(Precision::F32));
            let digits =
                |errors: &[f32]| errors.iter().map(|e| format!("{e:.1e}")).collect::<Vec<_>>().join(" ");
            println!("{precision} {name}: {}, without rounding {}", digits(&errors), digits(&unrounded));
            for (what, error) in errors.iter().enumerate() {
                // A weight of the softmax, or a gradient within it, may lie on the other side of a tie.
                let allowed = if name == "linear" { TOLERANCE } else { 1e-4 };
                assert!(*error <= allowed, "{precision} {name} {what}: {error:.1e}");
            }
            // The bias of a linear layer is no operand.
            let seen = unrounded.iter().filter(|error| **error > 20.0 * TOLERANCE).count();
            assert_eq!(seen, if name == "linear" { 3 } else { 4 }, "{precision} {name}: {unrounded:?}");
        }
    }
}
