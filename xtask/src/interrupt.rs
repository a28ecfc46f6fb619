//! Ctrl-C and termination: noted here, acted on where work can stop cleanly.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on a signal is noted instead of ending the process.
pub fn watch() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))?)
}

/// Whether a signal came.
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
