use super::*;
use resect_tuning::{EncoderTune, EncoderTuning, Tuning};

#[test]
fn the_table_of_vit_b_is_the_published_one() {
    let expected = "\
parameters
image encoder     89.7 M   89,670,912  frozen
prompt encoder     6.2 K        6,220  frozen
positions            256          256  frozen
mask decoder      4.06 M    4,058,340  tuned   4.06 M    4,058,340  100.0 %; 552.0 K of them (IoU head, hypernetworks 1 to 3) get no gradient from a single-mask loss
in all            93.7 M   93,735,728  tuned   4.06 M    4,058,340    4.3 %";
    assert_eq!(of(Tuning::default()), expected);
}

#[test]
fn low_rank_additions_are_counted() {
    let encoder = EncoderTuning { tune: EncoderTune::Lora, ..EncoderTuning::default() };
    let table = of(Tuning { encoder, ..Tuning::default() });
    assert!(
        table.contains("image encoder     90.0 M   89,965,824  tuned  294.9 K      294,912    0.3 %\n"),
        "{table}"
    );
    assert!(
        table.contains("in all            94.0 M   94,030,640  tuned   4.35 M    4,353,252    4.6 %"),
        "{table}"
    );
}

fn of(tuning: Tuning) -> String {
    let config = SamConfig::named("vit-b").unwrap();
    table(&config, &Roles::new(&config, &tuning).unwrap()).join("\n")
}

#[test]
fn digits_are_grouped_by_three() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
