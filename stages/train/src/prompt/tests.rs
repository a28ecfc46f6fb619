use super::*;

fn rng(i: u32) -> ChaCha8Rng {
    resect_seed::stream("test", 0, &[&i.to_le_bytes()])
}

#[test]
fn each_side_moves_by_up_to_a_share_of_its_own_dimension() {
    let params = TrainParams { jitter: 25, jitter_unit: JitterUnit::Percent, ..Default::default() };
    let (tight, image) = (PixelBox { x0: 500, y0: 500, x1: 899, y1: 599 }, Size::new(2000, 2000));
    let moved: Vec<[u32; 4]> = (0..4000)
        .map(|i| {
            let found = jittered(tight, image, &params, &mut rng(i));
            [tight.x0 - found.x0, tight.y0 - found.y0, found.x1 - tight.x1, found.y1 - tight.y1]
        })
        .collect();
    // 400 pixels wide, 100 high.
    for (side, most) in [100u32, 25, 100, 25].into_iter().enumerate() {
        let draws: Vec<u32> = moved.iter().map(|by| by[side]).collect();
        assert_eq!((draws.iter().min(), draws.iter().max()), (Some(&0), Some(&most)), "side {side}");
        let mean = draws.iter().map(|&by| f64::from(by)).sum::<f64>() / draws.len() as f64;
        assert!((mean / f64::from(most) - 0.5).abs() < 0.02, "side {side}: {mean}");
    }
    assert!(moved.iter().any(|by| by[0] != by[2] && by[1] != by[3]), "sides have draws of their own");

    let corner = PixelBox { x0: 1, y0: 0, x1: 1999, y1: 1999 };
    let whole = jittered(corner, image, &TrainParams { jitter: 100, ..params.clone() }, &mut rng(0));
    assert_eq!(whole, PixelBox { x0: 0, y0: 0, x1: 1999, y1: 1999 }, "clipped to the image");
    let none = TrainParams { jitter: 0, ..params };
    assert_eq!(jittered(tight, image, &none, &mut rng(0)), tight);
}

#[test]
fn points_are_pixels_of_the_object_each_drawn_once_and_equally_often() {
    let pixels: Vec<[u32; 2]> = (0..10).map(|i| [i, 2 * i]).collect();
    let mut drawn = [0; 10];
    for i in 0..10_000 {
        let points = some_of(pixels.clone(), 3, &mut rng(i));
        let mut places: Vec<u32> = points.iter().map(|[x, _]| *x).collect();
        places.iter().for_each(|&place| drawn[place as usize] += 1);
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 3, "{points:?}");
        assert!(points.iter().all(|point| pixels.contains(point)), "{points:?}");
    }
    assert!(drawn.iter().all(|&times| (2800..3200).contains(&times)), "{drawn:?}");
    let mut all = some_of(pixels.clone(), 30, &mut rng(0));
    all.sort_unstable();
    assert_eq!(all, pixels);
}
