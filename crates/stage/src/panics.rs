//! A fault of the program itself, in whatever thread, fails the stage.
//!
//! A backend can have threads of its own, and a panic there need not reach who waits for the result: a stage must not publish
//! what such a run left.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;

/// Does the work; a panic of any thread meanwhile is an error, even if the work ended well.
///
/// # Errors
/// The work's own, or the first panic, with its place and thread.
pub fn guarded<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let first: Arc<Mutex<Option<String>>> = Arc::default();
    let before = take_hook();
    let noted = Arc::clone(&first);
    set_hook(Box::new(move |panic| {
        if resect_caught::is_expected() {
            return;
        }
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let backtrace = Backtrace::capture();
        let backtrace = match backtrace.status() {
            BacktraceStatus::Captured => format!("\n{backtrace}"),
            _ => String::new(),
        };
        let mut first = noted.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(format!("{message}{place} (thread {thread}){backtrace}"));
    }));
    let done = catch_unwind(AssertUnwindSafe(work));
    set_hook(before);
    let fault = first.lock().unwrap_or_else(PoisonError::into_inner).take();
    let fault = fault.map(|fault| anyhow!("a fault of the program, not of the data: {fault}"));
    match (done, fault) {
        (Ok(Err(error)), Some(fault)) => Err(fault.context(format!("{error:#}"))),
        (_, Some(fault)) => Err(fault),
        (Ok(done), None) => done,
        (Err(_), None) => Err(anyhow!("a fault of the program, not of the data")),
    }
}

#[cfg(test)]
mod tests;
