use super::*;

#[test]
fn every_row_is_visited_once_with_its_part_of_each_buffer() {
    for rows in [1, BLOCK, BLOCK + 1, 5 * BLOCK + 7] {
        let (mut wide, mut none, mut narrow) = (vec![0f32; 3 * rows], [], vec![0f32; rows]);
        by_rows(rows, [&mut wide, &mut none, &mut narrow], |range, [wide, none, narrow]| {
            assert!(none.is_empty() && range.start % BLOCK == 0 && range.len() == narrow.len());
            for (row, (wide, narrow)) in range.zip(wide.chunks_exact_mut(3).zip(narrow)) {
                wide.iter_mut().for_each(|x| *x += row as f32);
                *narrow += row as f32;
            }
        });
        assert!(narrow.iter().enumerate().all(|(row, x)| *x == row as f32));
        assert!(wide.iter().enumerate().all(|(i, x)| *x == (i / 3) as f32));
    }
}

#[test]
fn items_keep_their_order_and_lanes_what_they_held() {
    let mut lanes: Vec<Vec<u32>> = Vec::new();
    let items: Vec<u32> = (0..7).collect();
    let push = |lane: &mut Vec<u32>, item: &u32| {
        lane.push(*item);
        10 * item
    };
    assert_eq!(on_lanes(&mut lanes, 3, &items, push), [0, 10, 20, 30, 40, 50, 60]);
    assert_eq!(lanes, [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
    assert_eq!(on_lanes(&mut lanes, 9, &items[..2], push), [0, 10]);
    assert_eq!(lanes, [vec![0, 3, 6, 0], vec![1, 4, 1], vec![2, 5]]);
    assert_eq!(on_lanes(&mut lanes, 2, &[], push), []);
}
