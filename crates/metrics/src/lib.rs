//! How well a predicted mask agrees with the truth, and how sure a mean over targets is.
//!
//! A figure on nothing is `None`, never 0 or 1: all of them without truth, precision and HD95 of an empty prediction. `docs/metrics.md`
//! has the definitions for readers; `tests/reference.rs` holds each to MONAI, SciPy or NumPy.

mod bootstrap;
mod calibration;
mod overlap;
mod surface;
mod wilcoxon;

pub use bootstrap::{Bootstrap, mean, quantile};
pub use calibration::calibration;
pub use overlap::{Overlap, mean_absolute_error, overlap};
pub use surface::{SurfaceDistance, surface_distance};
pub use wilcoxon::wilcoxon;
