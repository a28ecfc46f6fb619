use super::*;
use crate::Cpu;

#[test]
fn attention_in_blocks_is_attention() {
    let device = Default::default();
    let draw = |shape: [usize; 3], step: f32| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * step).sin() * 2.0).collect();
        Tensor::<Cpu, 1>::from_data(values.as_slice(), &device).reshape(shape)
    };
    let (q, k, v) = (draw([5, 6, 3], 0.7), draw([5, 3, 6], 1.3), draw([5, 6, 4], 2.9));
    let attended = |scores| {
        let attended = attend(q.clone(), k.clone(), v.clone(), scores);
        attended.into_data().to_vec::<f32>().unwrap()
    };
    let whole = attended(usize::MAX);
    for scores in [1, 30, 35, 36, 100, 180] {
        let close = attended(scores).iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close, "at most {scores} scores");
    }
}
