//! Numbers as a reader wants them. What is no finite number is none.

/// Three decimals; a dash where there is none.
pub(crate) fn figure(value: Option<f64>) -> String {
    finite(value).map_or_else(|| "–".into(), |value| minus(format!("{value:.3}")))
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// As many decimals as a metric deserves: pixels one, shares three.
pub(crate) fn metric(name: &str, value: Option<f64>) -> String {
    match (name, finite(value)) {
        ("hd95", Some(value)) => minus(format!("{value:.1}")),
        _ => figure(value),
    }
}

/// With its sign.
pub(crate) fn signed(value: Option<f64>) -> String {
    finite(value).map_or_else(|| "–".into(), |value| minus(format!("{value:+.3}")))
}

/// "0.812 to 0.934".
pub(crate) fn interval(interval: Option<[f64; 2]>) -> String {
    interval
        .map_or_else(|| "–".into(), |[low, high]| format!("{} to {}", figure(Some(low)), figure(Some(high))))
}

/// "p = 0.012", "p < 0.001", which no line is broken in.
pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 { "p\u{a0}<\u{a0}0.001".into() } else { format!("p\u{a0}=\u{a0}{p:.3}") }
}

/// The typographic minus, which is as wide as the plus; a negative zero has none.
fn minus(text: String) -> String {
    let zero = text.chars().all(|c| "+-0.".contains(c));
    if zero { text.trim_start_matches(['+', '-']).to_owned() } else { text.replace('-', "−") }
}

/// "1 target", "2 targets".
pub(crate) fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// "7.2 s", "3 min 20 s", "2 h 5 min".
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// "1.4 GiB".
pub(crate) fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// "2026-11-26 11:47 UTC" of "2026-11-26T11:47:12.123Z".
pub(crate) fn moment(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => rfc3339.to_owned(),
    }
}

#[cfg(test)]
mod tests;
