use super::*;

#[test]
fn what_is_joined_by_way_of_others_is_one_cluster() {
    let mut clusters = Clusters::new(6);
    for (a, b) in [(4, 2), (5, 4), (2, 5), (1, 0)] {
        clusters.join(a, b);
    }
    let firsts: Vec<usize> = (0..6).map(|sample| clusters.first(sample)).collect();
    assert_eq!(firsts, [0, 0, 2, 3, 2, 2]);
}
