use super::*;

#[test]
fn sums_and_copies_reach_every_number() {
    for len in [1, 7, CHUNK, 2 * CHUNK + 3] {
        let x: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let mut y = vec![0.0; len];
        copy(&mut y, &x);
        add_to(&mut y, &x);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
        sum_of(&mut y, &x, &x);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
        let twice = [x.as_slice(), &x].concat();
        let mut y = vec![0.0; 2 * len];
        sum_of(&mut y, &twice, &x);
        assert!(y.iter().zip(&twice).all(|(y, x)| *y == 2.0 * x));
    }
}
