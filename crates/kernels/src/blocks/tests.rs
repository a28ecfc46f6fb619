use super::*;

#[test]
fn every_row_is_visited_once_with_its_part_of_each_buffer() {
    for (rows, sample) in
        [(1, 1), (BLOCK, BLOCK), (BLOCK + 1, BLOCK + 1), (5 * BLOCK + 7, 5 * BLOCK + 7), (35, 7), (1400, 700)]
    {
        let (mut wide, mut none, mut narrow) = (vec![0f32; 3 * rows], [], vec![0f32; rows]);
        by_rows(rows, sample, [&mut wide, &mut none, &mut narrow], |range, [wide, none, narrow]| {
            assert!(none.is_empty() && range.len() == narrow.len() && range.len() <= BLOCK);
            assert_eq!(range.start / sample, (range.end - 1) / sample, "a block has rows of one sample");
            assert!(range.start % sample % BLOCK == 0);
            for (row, (wide, narrow)) in range.zip(wide.chunks_exact_mut(3).zip(narrow)) {
                wide.iter_mut().for_each(|x| *x += row as f32);
                *narrow += row as f32;
            }
        });
        assert!(narrow.iter().enumerate().all(|(row, x)| *x == row as f32));
        assert!(wide.iter().enumerate().all(|(i, x)| *x == (i / 3) as f32));
    }
    by_rows(0, 1, [&mut []], |_, _| panic!("there is no row"));
}
