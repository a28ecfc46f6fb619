use super::*;
use resect_evaluation_records::Method;
use std::sync::mpsc::channel;
use std::time::Duration;

fn broken(item: usize) -> EvaluateError {
    EvaluateError::NotFinite { id: item.to_string(), method: Method::Tuned }
}

#[test]
fn every_batch_is_gathered_decoded_and_consumed_in_order() {
    let items: Vec<usize> = (0..17).collect();
    let mut seen = Vec::new();
    let gather = |items: &[usize]| items.iter().map(|item| item * 10).collect::<Vec<_>>();
    let decode = |items: &[usize], gathered: Vec<usize>| {
        assert_eq!(gather(items), gathered);
        Ok(gathered.iter().map(|x| x + 1).collect::<Vec<_>>())
    };
    run(&items, 3, gather, decode, |items, logits| {
        seen.push((items.to_vec(), logits));
        Ok(())
    })
    .unwrap();
    let expected = |items: &[usize]| (items.to_vec(), items.iter().map(|item| item * 10 + 1).collect());
    assert_eq!(seen, items.chunks(3).map(expected).collect::<Vec<_>>());
}

#[test]
fn the_next_batch_is_gathered_and_the_last_one_consumed_meanwhile() {
    let items: Vec<usize> = (0..6).collect();
    let patience = Duration::from_secs(60);
    let ((gathered, gatherings), (decoding, decodings)) = (channel(), channel());
    run(
        &items,
        1,
        |items| {
            // Nobody listens any more when the last ones are gathered.
            let _ = gathered.send(items[0]);
            items[0]
        },
        |_, item| {
            decoding.send(item).unwrap();
            // While the second is decoded, the third is gathered; else this waits in vain.
            while item == 1 && gatherings.recv_timeout(patience).unwrap() < 2 {}
            Ok(item)
        },
        move |_, item| {
            // While the first is consumed, the decoder begins with the second; else this waits in vain.
            while item == 0 && decodings.recv_timeout(patience).unwrap() < 1 {}
            Ok(())
        },
    )
    .unwrap();
}

#[test]
fn whatever_fails_stops_the_others_and_is_told() {
    let items: Vec<usize> = (0..40).collect();
    for failing in ["decode", "consume"] {
        let check = |what: &str, item: usize| match what == failing && item >= 20 {
            true => Err(broken(item)),
            false => Ok(item),
        };
        let mut consumed = Vec::new();
        let decode = |_: &[usize], item| check("decode", item);
        let error = run(
            &items,
            2,
            |items| items[0],
            decode,
            |_, item| {
                check("consume", item)?;
                consumed.push(item);
                Ok(())
            },
        )
        .unwrap_err();
        assert!(matches!(&error, EvaluateError::NotFinite { id, .. } if id == "20"), "{failing}: {error}");
        assert_eq!(consumed, (0..20).step_by(2).collect::<Vec<_>>(), "{failing}");
    }
}

#[test]
fn a_panic_on_either_side_reaches_the_caller() {
    for failing in ["gather", "consume"] {
        let panics = |what: &str| assert!(what != failing, "lost in {what}");
        let consume = |_: &[i32], ()| {
            panics("consume");
            Ok(())
        };
        let run = || run(&[1, 2, 3], 1, |_| panics("gather"), |_, ()| Ok(()), consume);
        let panic = std::panic::catch_unwind(run).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("lost in {failing}"));
    }
}
