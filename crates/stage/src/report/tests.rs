use super::*;
use std::sync::Arc;

/// What was written, kept for the test.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn messages_pass_after_a_thread_panicked_while_it_wrote() {
    let written = Written::default();
    let reporter = Reporter::new(written.clone());
    // A panic that is expected: other tests watch the whole process for those that are not.
    let panicked: Option<()> = resect_caught::caught(|| {
        let _held = reporter.sink.lock().unwrap();
        panic!("on purpose");
    });
    assert!(panicked.is_none() && reporter.sink.is_poisoned());
    reporter.progress("decoding", 1, 1, "images");
    reporter.note("found");
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let messages: Vec<Message> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(matches!(messages.as_slice(), [Message::Progress(_), Message::Note(_)]), "{text}");
}
