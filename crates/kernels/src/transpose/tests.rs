use super::*;

#[test]
fn every_value_finds_its_place() {
    for [rows, cols] in [[1, 1], [1, 40], [40, 1], [16, 32], [33, 17]] {
        let x: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
        let mut out = vec![0.0; x.len()];
        transpose(&x, [rows, cols], &mut out);
        for (i, value) in out.iter().enumerate() {
            assert_eq!(*value, x[i % rows * cols + i / rows], "{rows} x {cols}, {i}");
        }
    }
}
