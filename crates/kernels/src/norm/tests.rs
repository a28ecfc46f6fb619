use super::*;

#[test]
fn a_row_is_normalised() {
    let mut y = [0.0; 6];
    // torch.nn.functional.layer_norm(torch.tensor([[1., 2., 6.], [5., 5., 5.]]), (3,), torch.tensor([1., 2., 3.]),
    //     torch.tensor([0.5, 0., -1.]), eps=0.5)
    let norm = Norm { weight: &[1.0, 2.0, 3.0], bias: &[0.5, 0.0, -1.0], epsilon: 0.5 };
    let x = [1.0, 2.0, 6.0, 5.0, 5.0, 5.0];
    let none = || Kept { unit: &mut [], inverse: &mut [], slope: &mut [] };
    norm.forward(&x, None, None, Precision::F32, &mut y, none());
    let expected = [-0.379_883, -0.879_883, 2.959_472, 0.5, 0.0, -1.0];
    assert!(y.iter().zip(expected).all(|(y, e): (&f32, f32)| (y - e).abs() < 1e-5), "{y:?}");

    // What is kept for the backward pass, and a residual, change no bit.
    let (mut kept, mut unit, mut inverse) = ([0.0; 6], [0.0; 6], [0.0; 2]);
    let half = x.map(|x| x / 2.0);
    let for_backward = Kept { unit: &mut unit, inverse: &mut inverse, slope: &mut [] };
    norm.forward(&half, Some(&half), None, Precision::F32, &mut kept, for_backward);
    assert_eq!(kept, y);
    assert!(inverse.iter().all(|x| *x > 0.0) && unit[0] < 0.0);
}
