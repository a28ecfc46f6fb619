use super::*;

#[test]
fn the_split_is_in_the_file_name_or_the_folder() {
    assert_eq!(split_of_file("train-00000-of-00001.parquet"), "train");
    assert_eq!(split_of_file("data/validation-00000-of-00002.parquet"), "validation");
    assert_eq!(split_of_file("default/train/0000.parquet"), "train");
    assert_eq!(split_of_file("test.parquet"), "test");
}
