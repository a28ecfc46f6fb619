use super::*;

#[test]
fn a_group_comes_first_and_embeddings_have_what_is_left() {
    let training = |samples: usize| 10 + 20 * samples as u64;
    assert_eq!(Share::of(400, 4, training), Share { together: 4, room: 231 });
    assert_eq!(Share::of(120, 4, training), Share { together: 2, room: 51 });
    assert_eq!(Share::of(20, 4, training), Share { together: 1, room: 0 });
}
