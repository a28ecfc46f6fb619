use super::*;

fn metrics(dice: f64, epoch: u32) -> Metrics {
    let figures =
        |dice: f64| Figures { dice: Some(dice), low_res_dice: Some(dice / 2.0), ..Figures::default() };
    let rows = [("untuned", 0.25), ("tuned", dice)];
    let methods = rows.map(|(method, dice)| (method.to_owned(), figures(dice)));
    Metrics { targets: 7, epoch, methods: methods.into() }
}

#[test]
fn mean_and_deviation_are_numpys() {
    // numpy.mean([0.5, 0.75, 0.625]), numpy.std([0.5, 0.75, 0.625], ddof=1)
    let spread =
        Spread::beside(&[(0, metrics(0.5, 3)), (4, metrics(0.75, 9)), (5, metrics(0.625, 1))]).unwrap();
    assert_eq!((spread.mean.dice, spread.standard_deviation.dice), (Some(0.625), Some(0.125)));
    assert_eq!((spread.mean.iou, spread.standard_deviation.iou), (None, None));
    let lines = spread.lines();
    assert_eq!(lines[0], "3 seeds on 7 test targets, tight boxes");
    assert_eq!(lines[3], "untuned        0.2500       -    0.1250       -");
    assert_eq!(lines[5], "tuned, seed 4  0.7500       -    0.3750       -   epoch 9");
    assert_eq!(lines[8], "deviation      0.1250       -    0.0625       -   standard, over seeds");
}

#[test]
fn one_seed_has_no_deviation() {
    let spread = Spread::beside(&[(2, metrics(0.5, 3))]).unwrap();
    assert_eq!((spread.mean.dice, spread.standard_deviation.dice), (Some(0.5), None));
    assert!(Spread::beside(&[]).is_none());
}
