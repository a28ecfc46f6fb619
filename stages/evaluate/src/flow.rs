//! Three things at a time: while a batch is decoded, what the next one needs is gathered and the last one's logits are used.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::EvaluateError;

/// Batches that wait for whoever takes them next, on either side of the decoder: enough that nobody waits, and memory stays what
/// a few batches take.
const WAITING: usize = 1;

/// Takes all items, in order and `batch` at a time, through `gather` (what the decoder reads of them), `decode` (that to logits) and
/// `consume` (what becomes of the logits).
///
/// `decode` runs on the thread that calls. Whatever fails first stops the others.
pub(crate) fn run<T: Sync, G: Send, L: Send>(
    items: &[T],
    batch: usize,
    gather: impl Fn(&[T]) -> G + Send,
    decode: impl FnMut(&[T], G) -> Result<L, EvaluateError>,
    mut consume: impl FnMut(&[T], L) -> Result<(), EvaluateError> + Send,
) -> Result<(), EvaluateError> {
    thread::scope(|scope| {
        let (gathered, batches) = sync_channel(WAITING);
        let (decoded, done) = sync_channel(WAITING);
        let gatherer = scope.spawn(move || {
            // Where nobody wants it any more, whoever failed tells why.
            items.chunks(batch).all(|items| gathered.send((items, gather(items))).is_ok())
        });
        let consumer =
            scope.spawn(move || done.iter().try_for_each(|(items, logits)| consume(items, logits)));
        let own = decode_all(batches, decoded, decode);
        // Both have ended or are about to: the ends of their channels that were held here are gone.
        gatherer.join().unwrap_or_else(|panic| resume_unwind(panic));
        let consumed = consumer.join().unwrap_or_else(|panic| resume_unwind(panic));
        own.and(consumed)
    })
}

fn decode_all<'a, T, G, L>(
    batches: Receiver<(&'a [T], G)>,
    decoded: SyncSender<(&'a [T], L)>,
    mut decode: impl FnMut(&[T], G) -> Result<L, EvaluateError>,
) -> Result<(), EvaluateError> {
    for (items, gathered) in batches {
        if decoded.send((items, decode(items, gathered)?)).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
