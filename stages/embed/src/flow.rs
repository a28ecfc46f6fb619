//! Four things at a time: while a batch is encoded, the next one is handed to the device, the one after it prepared, and what was
//! encoded before written.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use crate::EmbedError;
use crate::rows::Row;

/// Batches and shards that wait for whoever takes them next: enough that nobody waits, and memory stays what two batches and
/// three shards take.
const WAITING: usize = 1;

/// A shard that has to be written.
#[derive(Clone, Debug)]
pub(crate) struct Shard<'a> {
    pub(crate) index: usize,
    pub(crate) rows: &'a [Row<'a>],
    /// Those of its rows that have to be encoded.
    pub(crate) new: Vec<Row<'a>>,
}

/// Takes all shards, in order, through `prepare` (a batch's rows to pixels), `begin` (rows and pixels to what the device is
/// computing), `finish` (that to embeddings) and `write` (a shard and the embeddings of its new rows).
///
/// Within a shard, a batch is begun before the one before it is waited for, so a device is never without work. Both run on the
/// thread that calls. Whatever fails first stops the others; what was written before stays.
pub(crate) fn run<P>(
    shards: &[Shard<'_>],
    batch: usize,
    prepare: impl Fn(&[Row<'_>]) -> Result<Vec<f32>, EmbedError> + Send,
    begin: impl FnMut(&[Row<'_>], Vec<f32>) -> Result<P, EmbedError>,
    finish: impl FnMut(&[Row<'_>], P) -> Result<Vec<f32>, EmbedError>,
    write: impl Fn(&Shard<'_>, Vec<f32>) -> Result<(), EmbedError> + Send,
) -> Result<(), EmbedError> {
    thread::scope(|scope| {
        let (prepared, batches) = sync_channel(WAITING);
        let (encoded, done) = sync_channel(WAITING);
        let reader = scope.spawn(move || prepare_all(shards, batch, prepare, &prepared));
        let writer =
            scope.spawn(move || done.iter().try_for_each(|(shard, embeddings)| write(shard, embeddings)));
        let own = encode_all(shards, batch, begin, finish, batches, encoded);
        // Both have ended or are about to: the ends of their channels that were held here are gone.
        for other in [reader.join(), writer.join()] {
            other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        own
    })
}

fn prepare_all(
    shards: &[Shard<'_>],
    batch: usize,
    prepare: impl Fn(&[Row<'_>]) -> Result<Vec<f32>, EmbedError>,
    prepared: &SyncSender<Vec<f32>>,
) -> Result<(), EmbedError> {
    for rows in shards.iter().flat_map(|shard| shard.new.chunks(batch)) {
        if prepared.send(prepare(rows)?).is_err() {
            // Nobody wants it any more; whoever failed tells why.
            break;
        }
    }
    Ok(())
}

fn encode_all<'a, 'b, P>(
    shards: &'b [Shard<'a>],
    batch: usize,
    mut begin: impl FnMut(&[Row<'_>], Vec<f32>) -> Result<P, EmbedError>,
    mut finish: impl FnMut(&[Row<'_>], P) -> Result<Vec<f32>, EmbedError>,
    batches: Receiver<Vec<f32>>,
    encoded: SyncSender<(&'b Shard<'a>, Vec<f32>)>,
) -> Result<(), EmbedError> {
    for shard in shards {
        let (mut embeddings, mut ahead) = (Vec::new(), None);
        for rows in shard.new.chunks(batch) {
            let Ok(pixels) = batches.recv() else { return Ok(()) };
            let begun = begin(rows, pixels)?;
            if let Some((rows, begun)) = ahead.replace((rows, begun)) {
                embeddings.append(&mut finish(rows, begun)?);
            }
        }
        if let Some((rows, begun)) = ahead {
            embeddings.append(&mut finish(rows, begun)?);
        }
        if encoded.send((shard, embeddings)).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
