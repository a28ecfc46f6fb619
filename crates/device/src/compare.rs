//! Whether a device computes what the CPU does.
//!
//! A GPU is not proven by having a driver: kernels are generated for it at run time, and reports tell of ones that left memory
//! unwritten. So each start of a stage on a GPU computes a little on both and compares.

use std::fmt;

/// How far single precision on a GPU may lie from the CPU's, as a share of the largest magnitude.
///
/// Matrix products may run in TF32 there, whose mantissa has 10 bits: each product is off by up to 5e-4 of its magnitude. These
/// errors are independent, so through the 12 to 32 layers of an encoder they grow like the square root of their number, to a
/// few thousandths. A wrong kernel is off by the magnitude itself.
pub const SINGLE_TOLERANCE: f32 = 2e-2;

/// The same where the operands of products are rounded to bf16 or f16. Both sides round them, the GPU its results, too; and what
/// falls on either side of a tie is one unit of bf16 apart, 4e-3 to 8e-3 of its magnitude.
pub const NARROW_TOLERANCE: f32 = 5e-2;

/// The largest difference, where it is too large.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// What was computed.
    pub what: String,
    /// The place of the largest difference.
    pub index: usize,
    /// Of so many numbers.
    pub count: usize,
    /// The device's number there.
    pub device: f32,
    /// The CPU's number there.
    pub cpu: f32,
    /// What the difference may be at most.
    pub allowed: f32,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, index, count, device, cpu, allowed } = self;
        let difference = (device - cpu).abs();
        write!(
            f,
            "{what} differs by {difference:.3e} (at most {allowed:.3e} is allowed), number {index} of {count} is {device} \
             there and {cpu} on the CPU"
        )
    }
}

/// Compares what a device computed with what the CPU did. The largest difference, as a share of the CPU's largest magnitude.
///
/// # Errors
/// A difference above `tolerance` of that magnitude; a number that is NaN or infinite on the device; other counts of numbers.
pub fn compare(what: &str, device: &[f32], cpu: &[f32], tolerance: f32) -> Result<f32, Disagreement> {
    let count = device.len().max(cpu.len());
    let magnitude = cpu.iter().fold(0f32, |most, x| most.max(x.abs()));
    let allowed = tolerance * magnitude;
    // What one of them lacks counts as NaN, and NaN as the largest difference of all.
    let at = |values: &[f32], index: usize| values.get(index).copied().unwrap_or(f32::NAN);
    let difference = |index: usize| (at(device, index) - at(cpu, index)).abs();
    let Some(index) = (0..count).max_by(|a, b| difference(*a).total_cmp(&difference(*b))) else {
        return Ok(0.0);
    };
    if difference(index) <= allowed {
        return Ok(if magnitude > 0.0 { difference(index) / magnitude } else { 0.0 });
    }
    let (device, cpu) = (at(device, index), at(cpu, index));
    Err(Disagreement { what: what.into(), index, count, device, cpu, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_passes_with_its_largest_difference() {
        let found = compare("x", &[1.0, -4.02, 2.0], &[1.0, -4.0, 2.01], 1e-2).unwrap();
        assert!((found - 0.005).abs() < 1e-6, "{found}");
        assert_eq!(compare("x", &[0.0; 3], &[0.0; 3], 1e-2), Ok(0.0));
        assert_eq!(compare("x", &[], &[], 1e-2), Ok(0.0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let found = compare("the logits", &[1.0, 0.0, 2.0], &[1.0, -4.0, 2.0], 1e-2).unwrap_err();
        assert_eq!((found.index, found.device, found.cpu, found.allowed), (1, 0.0, -4.0, 0.04));
        let text = found.to_string();
        assert!(text.contains("the logits differs by 4.000e0 (at most 4.000e-2 is allowed)"), "{text}");
        // Wherever they lie: no number, one too many, one too few, something where there should be nothing.
        for (device, cpu) in [
            (&[1.0, f32::NAN][..], &[1.0, 2.0][..]),
            (&[f32::NEG_INFINITY, 2.0], &[1.0, 2.0]),
            (&[1.0, 2.0, 3.0], &[1.0, 2.0]),
            (&[1.0], &[1.0, 2.0]),
            (&[0.0, 1e-9], &[0.0, 0.0]),
        ] {
            assert!(compare("x", device, cpu, 1e-2).is_err(), "{device:?} {cpu:?}");
        }
    }
}
