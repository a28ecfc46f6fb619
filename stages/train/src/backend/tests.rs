use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn the_steps_of_two_backends_do_not_overlap() {
    let started = AtomicBool::new(false);
    std::thread::scope(|threads| {
        <Autodiff<Cpu>>::within_step(|| {
            threads.spawn(|| Cpu::within_step(|| started.store(true, Ordering::SeqCst)));
            // Long enough for the other step to start, if nothing stops it.
            std::thread::sleep(Duration::from_millis(200));
            assert!(!started.load(Ordering::SeqCst));
        });
    });
    assert!(started.into_inner());
}
