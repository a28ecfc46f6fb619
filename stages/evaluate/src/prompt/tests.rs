use super::*;

const IMAGE: Size = Size::new(100, 200);
const TIGHT: PixelBox = PixelBox { x0: 50, y0: 20, x1: 89, y1: 59 };

#[test]
fn noise_moves_each_side_either_way_within_the_image() {
    let moved = noisy(TIGHT, IMAGE, [10.0; 4], [-1.0, 0.5, 0.26, -0.5]);
    assert_eq!(moved, PixelBox { x0: 40, y0: 25, x1: 92, y1: 54 });
    assert_eq!(noisy(TIGHT, IMAGE, [0.0; 4], [-1.0, 0.5, 0.3, -0.5]), TIGHT);
    let clipped = noisy(TIGHT, IMAGE, [500.0; 4], [-1.0, -1.0, 1.0, 1.0]);
    assert_eq!(clipped, PixelBox { x0: 0, y0: 0, x1: 199, y1: 99 });
    // A left side that went past the right one is the right one.
    let passed = noisy(TIGHT, IMAGE, [50.0; 4], [1.0, 0.0, -0.5, 0.0]);
    assert_eq!(passed, PixelBox { x0: 64, y0: 20, x1: 100, y1: 59 });
}

#[test]
fn percent_are_of_the_boxs_own_sides() {
    let tall = PixelBox { x0: 10, y0: 0, x1: 19, y1: 79 };
    assert_eq!(reach(PromptKind::BoxNoisePercent, 50, tall), [5.0, 40.0, 5.0, 40.0]);
    assert_eq!(reach(PromptKind::BoxNoisePixels, 50, tall), [50.0; 4]);
}

#[test]
fn draws_lie_on_both_sides_and_belong_to_the_target() {
    assert_eq!(draws("a", 1), draws("a", 1));
    assert_ne!(draws("a", 1), draws("b", 1));
    assert_ne!(draws("a", 1), draws("a", 2));
    let all: Vec<f64> = (0..500).flat_map(|i| draws(&i.to_string(), 0)).collect();
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    assert!(mean.abs() < 0.05 && all.iter().all(|d| d.abs() <= 1.0), "{mean}");
    assert!(all.iter().any(|d| *d < -0.99) && all.iter().any(|d| *d > 0.99));
}

#[test]
fn the_wrong_box_lies_where_the_target_is_not() {
    let truth = Mask::from_fn(IMAGE, |x, y| TIGHT.contains(x, y));
    assert_eq!(wrong(TIGHT, &truth), PixelBox { x0: 0, y0: 0, x1: 39, y1: 39 });
    let left = PixelBox { x0: 0, y0: 0, x1: 109, y1: 49 };
    let truth = Mask::from_fn(IMAGE, |x, y| left.contains(x, y));
    assert_eq!(wrong(left, &truth), PixelBox { x0: 0, y0: 50, x1: 109, y1: 99 });
    let whole = Mask::from_fn(IMAGE, |_, _| true);
    let everything = PixelBox { x0: 0, y0: 0, x1: 199, y1: 99 };
    assert_eq!(wrong(everything, &whole), everything);
}

#[test]
fn every_form_has_its_parts() {
    let kinds = Form::all(&EvaluateParams::default());
    assert_eq!(kinds.len(), 15);
    let truth = Mask::from_fn(IMAGE, |x, y| TIGHT.contains(x, y));
    let target = crate::samples::tests::target(IMAGE, TIGHT);
    for form in kinds {
        let prompt = form.prompt(&target, || truth.clone(), 0).unwrap().unwrap();
        let expected = match form.kind {
            PromptKind::Point => (false, true),
            PromptKind::BoxAndPoint => (true, true),
            _ => (true, false),
        };
        assert_eq!((prompt.bounds.is_some(), !prompt.points.is_empty()), expected, "{form:?}");
    }
    let point = Form { kind: PromptKind::Point, amount: None };
    assert_eq!(point.prompt(&target, || Mask::empty(IMAGE), 0).unwrap(), None);
    let noise = Form { kind: PromptKind::BoxNoisePixels, amount: None };
    let error = noise.prompt(&target, || truth.clone(), 0).unwrap_err();
    assert!(matches!(error, EvaluateError::Internal(_)), "{error}");
}
