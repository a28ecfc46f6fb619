use super::*;
use resect_geometry::{Size, View};
use resect_images::ImageRef;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

fn rows<'a>(ids: &'a [String]) -> Vec<Row<'a>> {
    let size = Size::new(1, 1);
    let image =
        |id: &'a String| ImageRef { id, pixel_hash: id, original: size, resized: size, pixels: &[0; 3] };
    ids.iter().map(|id| Row { image: image(id), view: View::Identity }).collect()
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}

fn shards<'a>(rows: &'a [Row<'a>]) -> Vec<Shard<'a>> {
    // Each third row is known already, and the second shard needs nothing.
    let new = |index: usize, rows: &'a [Row<'a>]| {
        rows.iter().enumerate().filter(|(i, _)| index != 1 && i % 3 != 0).map(|(_, row)| *row).collect()
    };
    let shards = rows.chunks(5).enumerate();
    shards.map(|(index, rows)| Shard { index, rows, new: new(index, rows) }).collect()
}

fn number(row: &Row<'_>) -> f32 {
    row.image.id.parse().unwrap()
}

fn broken(row: &Row<'_>) -> EmbedError {
    EmbedError::BeyondHalf { id: row.image.id.into(), value: 0.0 }
}

#[test]
fn every_new_row_is_prepared_encoded_and_written_in_order() {
    let ids = ids(17);
    let rows = rows(&ids);
    let shards = shards(&rows);
    let written = Mutex::new(Vec::new());
    run(
        &shards,
        2,
        |rows| Ok(rows.iter().map(number).collect()),
        |rows, pixels| {
            assert_eq!(rows.iter().map(number).collect::<Vec<_>>(), pixels);
            Ok(pixels)
        },
        |rows, begun| {
            assert_eq!(rows.iter().map(number).collect::<Vec<_>>(), begun);
            Ok(begun.iter().map(|x| x * 10.0).collect())
        },
        |shard, embeddings| {
            written.lock().unwrap().push((shard.index, embeddings));
            Ok(())
        },
    )
    .unwrap();
    let expected: Vec<_> = shards
        .iter()
        .map(|shard| (shard.index, shard.new.iter().map(|row| number(row) * 10.0).collect::<Vec<_>>()))
        .collect();
    assert_eq!(written.into_inner().unwrap(), expected);
}

#[test]
fn the_next_batch_is_prepared_and_the_last_shard_written_meanwhile() {
    let ids = ids(6);
    let rows = rows(&ids);
    let shards: Vec<_> =
        rows.chunks(1).enumerate().map(|(index, rows)| Shard { index, rows, new: rows.to_vec() }).collect();
    let ((prepared, preparations), (wrote, writes)) = (channel(), channel());
    let patience = Duration::from_secs(60);
    run(
        &shards,
        1,
        |rows| {
            prepared.send(number(&rows[0])).unwrap();
            Ok(vec![number(&rows[0])])
        },
        |rows, pixels| {
            // While the second is encoded, the third is prepared and the first written; else this waits in vain.
            if number(&rows[0]) == 1.0 {
                let third =
                    (0..3).map(|_| preparations.recv_timeout(patience).unwrap()).max_by(f32::total_cmp);
                assert_eq!(third, Some(2.0));
                assert_eq!(writes.recv_timeout(patience), Ok(0));
            }
            Ok(pixels)
        },
        |_, begun| Ok(begun),
        |shard, _| {
            // Nobody listens any more when the last ones are written.
            let _ = wrote.send(shard.index);
            Ok(())
        },
    )
    .unwrap();
}

#[test]
fn a_device_has_the_next_batch_before_it_is_waited_for() {
    let ids = ids(7);
    let rows = rows(&ids);
    let shard = [Shard { index: 0, rows: &rows, new: rows.clone() }];
    let said = std::cell::RefCell::new(Vec::new());
    let say = |what: &str, rows: &[Row<'_>]| said.borrow_mut().push(format!("{what} {}", number(&rows[0])));
    let begin = |rows: &[Row<'_>], _| {
        say("begin", rows);
        Ok(())
    };
    let finish = |rows: &[Row<'_>], ()| {
        say("finish", rows);
        Ok(Vec::new())
    };
    run(&shard, 3, |_| Ok(Vec::new()), begin, finish, |_, _| Ok(())).unwrap();
    let expected = ["begin 0", "begin 3", "finish 0", "begin 6", "finish 3", "finish 6"];
    assert_eq!(said.into_inner(), expected);
}

#[test]
fn whatever_fails_stops_the_others_and_is_told() {
    let ids = ids(40);
    let rows = rows(&ids);
    let shards = shards(&rows);
    for failing in ["prepare", "begin", "finish", "write"] {
        let fails = |what: &str, row: &Row<'_>| what == failing && number(row) >= 20.0;
        let checked = |what: &str, rows: &[Row<'_>]| match rows.iter().find(|row| fails(what, row)) {
            Some(row) => Err(broken(row)),
            None => Ok(Vec::new()),
        };
        let written = Mutex::new(Vec::new());
        let error = run(
            &shards,
            3,
            |rows| checked("prepare", rows),
            |rows, _| checked("begin", rows).map(drop),
            |rows, ()| checked("finish", rows),
            |shard, _| {
                checked("write", shard.rows)?;
                written.lock().unwrap().push(shard.index);
                Ok(())
            },
        )
        .unwrap_err();
        assert!(matches!(error, EmbedError::BeyondHalf { .. }), "{failing}: {error}");
        assert_eq!(written.into_inner().unwrap(), [0, 1, 2, 3], "{failing}");
    }
}
