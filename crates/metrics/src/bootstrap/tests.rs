use super::*;

const NAMES: [&str; 40] = {
    let mut names = [""; 40];
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCD";
    let mut i = 0;
    while i < names.len() {
        names[i] = all.split_at(i).1.split_at(1).0;
        i += 1;
    }
    names
};

fn values() -> Vec<Option<f64>> {
    (0..40).map(|i| Some(f64::from(i * i % 17) / 17.0)).collect()
}

#[test]
fn quantiles_of_few_values() {
    assert_eq!(quantile(&mut [], 0.5), None);
    assert_eq!(quantile(&mut [3.0], 0.95), Some(3.0));
    assert_eq!(quantile(&mut [4.0, 1.0], 0.25), Some(1.75));
    assert_eq!(quantile(&mut [4.0, 1.0, 2.0], 1.0), Some(4.0));
}

#[test]
fn the_seed_decides_the_draws() {
    let of = |seed| Bootstrap::new(&NAMES, 500, seed).interval(&values(), 0.95);
    assert_eq!(of(3), of(3));
    assert_ne!(of(3), of(4));
}

#[test]
fn the_interval_is_as_wide_as_the_means_error_asks() {
    let values = values();
    let all: Vec<f64> = values.iter().flatten().copied().collect();
    let mean = mean(all.iter().copied()).unwrap();
    let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / all.len() as f64;
    let error = (variance / all.len() as f64).sqrt();
    let [low, high] = Bootstrap::new(&NAMES, 20_000, 0).interval(&values, 0.95).unwrap();
    for (found, expected) in [(low, mean - 1.96 * error), (high, mean + 1.96 * error)] {
        assert!((found - expected).abs() < 0.1 * error, "{found} {expected} of error {error}");
    }
}

#[test]
fn targets_of_one_group_are_no_news_to_one_another() {
    // Each group holds four equal targets: the interval is that of ten targets, not of forty.
    let groups: Vec<&str> = (0..40).map(|i| NAMES[i / 4]).collect();
    let values: Vec<_> = (0..40).map(|i| Some(f64::from(i / 4 * (i / 4) % 7))).collect();
    let ten: Vec<_> = values.iter().step_by(4).copied().collect();
    let clustered = Bootstrap::new(&groups, 5000, 1).interval(&values, 0.95);
    assert_eq!(clustered, Bootstrap::new(&NAMES[..10], 5000, 1).interval(&ten, 0.95));
    let [low, high] = clustered.unwrap();
    let [apart_low, apart_high] = Bootstrap::new(&NAMES, 5000, 1).interval(&values, 0.95).unwrap();
    assert!(high - low > 1.5 * (apart_high - apart_low));
}

#[test]
fn what_has_no_value_does_not_count() {
    let bootstrap = Bootstrap::new(&NAMES, 500, 0);
    let mut values = vec![None; 40];
    assert_eq!(bootstrap.interval(&values, 0.95), None);
    values[7] = Some(0.5);
    assert_eq!(bootstrap.interval(&values, 0.95), None, "one group has no spread");
    values[9] = Some(1.0);
    assert_eq!(bootstrap.interval(&values, 0.95), Some([0.5, 1.0]));
}
