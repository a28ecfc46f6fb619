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
    /// How far it differs.
    pub difference: f32,
    /// The place of the largest difference.
    pub index: usize,
    /// Of so many numbers.
    pub count: usize,
    /// The device's number there.
    pub device: f32,
    /// The CPU's number there.
    pub cpu: f32,
    /// How far it may differ.
    pub allowed: f32,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, difference, index, count, device, cpu, allowed } = self;
        write!(
            f,
            "{what} differs by {difference:.3e} (at most {allowed:.3e} is allowed), most at number {index} of {count}, which is \
             {device} there and {cpu} on the CPU"
        )
    }
}

/// Compares what a device computed with what the CPU did. The largest difference, as a share of the CPU's largest magnitude.
///
/// # Errors
/// A difference above `tolerance` of that magnitude; a number that is NaN or infinite on the device; other counts of numbers.
pub fn compare(what: &str, device: &[f32], cpu: &[f32], tolerance: f32) -> Result<f32, Disagreement> {
    let magnitude = cpu.iter().fold(0f32, |most, x| most.max(x.abs()));
    let Some(largest) = Disagreement::largest(what, device, cpu) else { return Ok(0.0) };
    largest.unless_allowed(tolerance * magnitude, magnitude)
}

/// Compares as a whole what a device computed with what the CPU did: by the Euclidean norm of the difference, which is
/// returned as a share of that of the CPU's numbers.
///
/// It is for what is summed from so many numbers that cancel, or pass a threshold on one side alone, that a few of them may differ by
/// their own magnitude.
///
/// # Errors
/// A norm above `tolerance` of the CPU's, and above `least`; numbers as in [`compare`].
pub fn compare_whole(
    what: &str,
    device: &[f32],
    cpu: &[f32],
    tolerance: f32,
    least: f32,
) -> Result<f32, Disagreement> {
    let Some(largest) = Disagreement::largest(what, device, cpu) else { return Ok(0.0) };
    let of_differences = device.iter().zip(cpu).map(|(a, b)| a - b);
    // One that is no number, or lacks its counterpart, is so here, too.
    let difference = norm(of_differences) + largest.difference * 0.0;
    let magnitude = norm(cpu.iter().copied());
    Disagreement { difference, ..largest }.unless_allowed((tolerance * magnitude).max(least), magnitude)
}

/// The Euclidean norm.
pub fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32
}

impl Disagreement {
    /// The largest difference, if there are numbers; nothing is allowed yet.
    fn largest(what: &str, device: &[f32], cpu: &[f32]) -> Option<Self> {
        let count = device.len().max(cpu.len());
        // What one of them lacks counts as NaN, and NaN as the largest difference of all.
        let at = |values: &[f32], index: usize| values.get(index).copied().unwrap_or(f32::NAN);
        let difference = |index: usize| (at(device, index) - at(cpu, index)).abs();
        let index = (0..count).max_by(|a, b| difference(*a).total_cmp(&difference(*b)))?;
        let (device, cpu) = (at(device, index), at(cpu, index));
        Some(Self {
            what: what.into(),
            difference: (device - cpu).abs(),
            index,
            count,
            device,
            cpu,
            allowed: 0.0,
        })
    }

    /// The difference as a share of a magnitude.
    fn unless_allowed(self, allowed: f32, magnitude: f32) -> Result<f32, Self> {
        match self.difference <= allowed {
            true => Ok(if magnitude > 0.0 { self.difference / magnitude } else { 0.0 }),
            false => Err(Self { allowed, ..self }),
        }
    }
}

#[cfg(test)]
mod tests;
