//! A bug that a damaged file finds in somebody else's reader costs that file, not the run.
//!
//! A stage fails on any panic, in whatever thread: its hook asks [`is_expected`] which of them are no fault of the program.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What the work gives; nothing if it panics. All that it works on is thrown away then, but what it does not own stays as it was left.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.ok()
}

/// Whether a panic of this thread is caught by [`caught`].
pub fn is_expected() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests;
