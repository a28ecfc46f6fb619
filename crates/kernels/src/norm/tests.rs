use super::*;

#[test]
fn a_row_is_normalised() {
    let mut y = [0.0; 6];
    // torch.nn.functional.layer_norm(torch.tensor([[1., 2., 6.], [5., 5., 5.]]), (3,), torch.tensor([1., 2., 3.]),
    //     torch.tensor([0.5, 0., -1.]), eps=0.5)
    normalise_rows(&[1.0, 2.0, 6.0, 5.0, 5.0, 5.0], &[1.0, 2.0, 3.0], &[0.5, 0.0, -1.0], 0.5, &mut y);
    let expected = [-0.379_883, -0.879_883, 2.959_472, 0.5, 0.0, -1.0];
    assert!(y.iter().zip(expected).all(|(y, e): (&f32, f32)| (y - e).abs() < 1e-5), "{y:?}");
}
