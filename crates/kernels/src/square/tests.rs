use super::*;

fn draw(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * step).sin() * 1.5).collect()
}

/// What is attended, straight from the definition and in double precision.
fn expected(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    tables: Option<[&[f32]; 2]>,
    s: usize,
    d: usize,
    scale: f32,
) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut out = Vec::new();
    for (i, q) in q.chunks_exact(d).enumerate() {
        let scores: Vec<f64> = (0..s * s)
            .map(|j| {
                let score = f64::from(scale) * dot(q, &k[j * d..][..d]);
                let share = |table: &[f32], a: usize, b: usize| dot(q, &table[(a + s - 1 - b) * d..][..d]);
                score + tables.map_or(0.0, |[h, w]| share(h, i / s, j / s) + share(w, i % s, j % s))
            })
            .collect();
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        out.extend(
            (0..d).map(|c| (0..s * s).map(|j| weights[j] / sum * f64::from(v[j * d + c])).sum::<f64>()),
        );
    }
    out
}

#[test]
fn blocks_of_keys_give_attention_as_it_is_defined() {
    // 5: no whole vectors. 17: blocks of 15 and 2 rows of keys. 20 with a pitch of 32: windows with room beside them.
    for (side, pitch) in [(5, 5), (17, 17), (16, 16), (20, 32)] {
        let (d, scale) = (6, 0.4);
        let tokens = side * side;
        let (q, k, v) = (draw(tokens * d, 0.7), draw(tokens * d, 1.3), draw(tokens * d, 2.9));
        let tables = [draw((2 * side - 1) * d, 3.1), draw((2 * side - 1) * d, 0.3)];
        let spread = |x: &[f32]| {
            let mut out = vec![0.0; side * pitch * d];
            for (out, x) in out.chunks_exact_mut(pitch * d).zip(x.chunks_exact(side * d)) {
                out[..side * d].copy_from_slice(x);
            }
            out
        };
        let (keys, values) = (spread(&k), spread(&v));
        for with in [true, false] {
            let tables = with.then_some([tables[0].as_slice(), &tables[1]]);
            let positions = tables.map(|[h, w]| Positions::new(h, w, side, Precision::F32));
            let expected = expected(&q, &k, &v, tables, side, d, scale);
            let square = Square {
                keys: Matrix::new(&keys, d),
                values: Matrix::new(&values, d),
                side,
                pitch,
                positions: positions.as_ref(),
                scale,
                precision: Precision::F32,
            };
            let mut found = vec![f32::NAN; tokens * d];
            let mut log_sums = vec![f32::NAN; tokens];
            // In two parts, which do not begin with a row.
            let mut scratch = Scratch::default();
            for range in [0..side + 3, side + 3..tokens] {
                let rows = Matrix::new(&q, d).rows(range.clone());
                let queries = Queries { rows, first: range.start, width: side };
                let out = &mut found[range.start * d..range.end * d];
                square.attend(queries, &mut scratch, out, &mut log_sums[range]);
            }
            assert!(log_sums.iter().all(|sum| sum.is_finite()));
            let error =
                found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error < 2e-6, "side {side}, pitch {pitch}, positions {with}: {error:e}");
        }
    }
}
