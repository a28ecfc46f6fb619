//! Reports settings whose value has the right type and is out of range.

/// A setting whose value cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} {message}")]
pub struct Invalid {
    /// Full name, such as `train.learning_rate`.
    pub setting: String,
    /// What is expected of it and what it is instead.
    pub message: String,
}

/// Collects every problem instead of stopping at the first.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Invalid>);

impl Problems {
    /// Notes a problem with `setting` unless `holds`.
    pub fn expect(&mut self, holds: bool, setting: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Invalid { setting: setting.to_owned(), message: message() });
        }
    }
}

/// Whether a number is a share: 0 to 1.
pub fn is_share(x: f64) -> bool {
    (0.0..=1.0).contains(&x)
}
