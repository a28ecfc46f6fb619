use super::*;
use crate::Cpu;
use burn::tensor::Int;
use burn_nn::PaddingConfig2d;

/// 1, 2, 3 and so on.
fn counted<const D: usize>(shape: [usize; D]) -> Tensor<Cpu, D> {
    let count = shape.iter().product::<usize>() as i64;
    Tensor::<Cpu, 1, Int>::arange(1..count + 1, &Default::default()).float().reshape(shape)
}

#[test]
fn windows_pad_with_zeros_and_come_apart_again() {
    let images = Grids { count: 2, side: 3 };
    let x = counted([18, 2]);
    let windows = windowed(x.clone(), images, 2);
    assert_eq!(windows.dims(), [2 * 4 * 4, 2]);
    // The last window has one token of the image.
    let corner = windows.clone().slice([28..32, 0..2]).into_data().to_vec::<f32>().unwrap();
    assert_eq!(corner, [35.0, 36.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(unwindowed(windows, images, 2).into_data(), x.into_data());
}

#[test]
fn nine_neighbours_and_a_product_are_a_convolution() {
    let images = Grids { count: 2, side: 4 };
    let rows = counted([32, 3]).sin();
    let mut conv = Conv2dConfig::new([3, 5], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init::<Cpu>(&Default::default());
    conv.weight = Param::from_tensor(counted([5, 3, 3, 3]).cos());
    let expected = conv.forward(rows.clone().reshape([2, 4, 4, 3]).permute([0, 3, 1, 2]));
    let found = three_by_three(conv.weight.val(), rows, images).reshape([2, 4, 4, 5]);
    let difference = (found.permute([0, 3, 1, 2]) - expected).abs().max().into_scalar();
    assert!(difference < 1e-5, "{difference}");
}
