use super::*;

fn totaller(groups: &[&str]) -> Totaller {
    Totaller { bootstrap: Bootstrap::new(groups, 200, 0) }
}

#[test]
fn a_lower_distance_is_a_win() {
    let totaller = totaller(&["a", "b", "c", "d"]);
    let differences = [Some(-1.0), Some(-2.0), Some(0.0), None];
    let better = totaller.paired(&differences, false);
    assert_eq!((better.targets, better.wins, better.ties, better.losses), (3, 2, 1, 0));
    assert_eq!(better.difference, Some(-1.0));
    let worse = totaller.paired(&differences, true);
    assert_eq!((worse.wins, worse.losses, worse.p), (0, 2, better.p));
}

#[test]
fn totals_are_over_whoever_counts_and_has_a_value() {
    let score = |dice, hd95| Score {
        original: Figures { dice: Some(dice), hd95, ..Figures::default() },
        missed: hd95.is_none(),
        ..Score::default()
    };
    let scores = [score(0.5, Some(4.0)), score(0.0, None), score(1.0, Some(0.0))];
    let scores: Vec<&Score> = scores.iter().collect();
    let all = totaller(&["a", "b", "c"]).totals(&scores, &[true; 3]);
    assert_eq!((all.targets, all.missed), (3, 1));
    assert_eq!((all.original.dice.mean, all.original.dice.targets), (Some(0.5), 3));
    assert_eq!((all.original.hd95.mean, all.original.hd95.targets), (Some(2.0), 2));
    assert_eq!((all.low_res.dice.mean, all.low_res.dice.interval), (None, None));
    let first = totaller(&["a", "b", "c"]).totals(&scores, &[true, false, false]);
    assert_eq!((first.targets, first.original.dice.mean, first.original.dice.interval), (1, Some(0.5), None));
}
