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
mod tests {
    use super::*;

    /// One test, because the hook is the whole process's.
    #[test]
    fn a_panic_of_any_thread_is_an_error() {
        let said = |work: fn() -> anyhow::Result<()>| format!("{:#}", guarded(work).unwrap_err());
        let here = said(|| panic!("lost {}", 7));
        assert!(here.contains("a fault of the program, not of the data: lost 7 at "), "{here}");
        assert!(here.contains("panics.rs"), "{here}");

        // The work goes on and ends well: what it gave is wrong all the same.
        let elsewhere = said(|| {
            let device = std::thread::Builder::new().name("device".into());
            let _ = device.spawn(|| panic!("unwritten"))?.join();
            Ok(())
        });
        assert!(elsewhere.contains("unwritten at ") && elsewhere.contains("(thread device)"), "{elsewhere}");

        // What a damaged file finds in its reader is an error of that file.
        let caught = guarded(|| Ok(resect_caught::caught(|| -> () { panic!("damaged") })));
        assert_eq!(caught.unwrap(), None);
        // The first is the cause of the others.
        let both = said(|| {
            let receiver = {
                let (sender, receiver) = std::sync::mpsc::channel::<()>();
                let _ = std::thread::spawn(move || {
                    let _sender = sender;
                    panic!("the cause")
                })
                .join();
                receiver
            };
            receiver.recv().unwrap();
            Ok(())
        });
        assert!(both.contains("the cause") && !both.contains("RecvError"), "{both}");

        let with_error = said(|| {
            let _ = std::thread::spawn(|| panic!("the cause")).join();
            anyhow::bail!("no answer")
        });
        assert!(
            with_error.starts_with("no answer: a fault") && with_error.contains("the cause"),
            "{with_error}"
        );
        assert_eq!(said(|| anyhow::bail!("an error")), "an error");
        assert!(guarded(|| Ok(())).is_ok());
    }
}
