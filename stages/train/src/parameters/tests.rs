use super::*;

#[test]
fn the_table_of_vit_b_is_the_published_one() {
    let expected = "\
parameters
image encoder     89.7 M   89,670,912  frozen
prompt encoder     6.2 K        6,220  frozen
positions            256          256  frozen
mask decoder      4.06 M    4,058,340  trainable; 552.0 K of them (IoU head, hypernetworks 1 to 3) get no gradient from a single-mask loss
in all            93.7 M   93,735,728";
    assert_eq!(table(&SamConfig::named("vit-b").unwrap()).join("\n"), expected);
}

#[test]
fn digits_are_grouped_by_three() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
