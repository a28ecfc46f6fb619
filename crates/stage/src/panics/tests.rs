use super::*;

/// One test, because the hook is the whole process's.
#[test]
fn a_panic_of_any_thread_is_an_error() {
    let said = |work: fn() -> anyhow::Result<()>| format!("{:#}", guarded(work).unwrap_err());
    let here = said(|| panic!("lost {}", 7));
    assert!(here.contains("a fault of the program, not of the data: lost 7 at "), "{here}");
    assert!(here.contains("tests.rs"), "{here}");

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
    assert!(with_error.starts_with("no answer: a fault") && with_error.contains("the cause"), "{with_error}");
    assert_eq!(said(|| anyhow::bail!("an error")), "an error");
    assert!(guarded(|| Ok(())).is_ok());
}
