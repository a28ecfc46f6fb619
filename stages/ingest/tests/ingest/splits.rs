//! Who is trained on and who is reported.

use crate::support::*;
use resect_ingest_params::{IngestParams, SplitBy};
use resect_target_records::Split;
use std::collections::{BTreeMap, BTreeSet};

fn given() -> IngestParams {
    let mut params = params();
    params.split.by = SplitBy::Given;
    params
}

/// Twenty samples, their given split by `split_of(index)`, their group where `group_of` gives one.
fn twenty(split_of: impl Fn(u32) -> &'static str, group_of: Option<&dyn Fn(u32) -> String>) -> Folder {
    let folder = Folder::with_samples(20);
    let mut csv = if group_of.is_some() { "id,split,group\n" } else { "id,split\n" }.to_owned();
    for i in 0..20 {
        csv += &format!("s{i:02}, {}", split_of(i));
        csv += &group_of.map(|group| format!(",{}", group(i))).unwrap_or_default();
        csv += "\n";
    }
    folder.file("splits.csv", format!("\u{feff}{csv}").as_bytes());
    folder
}

fn count(output: &Output, split: Split) -> usize {
    output.targets.of(split).len()
}

fn counts(output: &Output) -> [usize; 3] {
    [Split::Train, Split::Validation, Split::Test].map(|split| count(output, split))
}

#[test]
fn given_splits_and_a_carved_validation_part() {
    let folder = twenty(|i| if i < 15 { "train" } else { "test" }, None);
    assert_eq!(counts(&folder.run(&given()).unwrap()), [15, 0, 5]);
    let mut params = given();
    params.split.validation_share = 0.2;
    let output = folder.run(&params).unwrap();
    assert_eq!(counts(&output), [12, 3, 5]);
    assert!(
        output.targets.of(Split::Validation).iter().all(|&i| output.targets.rows()[i].given_split == "train")
    );
    assert_eq!(output.audit.given_splits, BTreeMap::from([("test".into(), 5), ("train".into(), 15)]));
    params.split.seed = 1;
    let other = folder.run(&params).unwrap();
    assert_ne!(output.targets.of(Split::Validation), other.targets.of(Split::Validation));
}

#[test]
fn a_given_validation_split_is_reported_only_when_there_is_no_test_split() {
    let two = twenty(|i| if i < 15 { "train" } else { "validation" }, None);
    let mut params = given();
    params.split.validation_share = 0.2;
    assert_eq!(counts(&two.run(&params).unwrap()), [12, 3, 5]);

    let three = twenty(|i| ["train", "train", "validation", "test"][i as usize % 4], None);
    assert_eq!(counts(&three.run(&params).unwrap()), [10, 5, 5]);
    // No epoch is to be selected: nobody needs it.
    params.split.validation_share = 0.0;
    let output = three.run(&params).unwrap();
    assert_eq!((counts(&output), output.audit.unused), ([10, 0, 5], 5));
    assert_eq!(output.images.len(), 20, "images do not depend on the split");

    params.split.train = vec!["train".into(), "test".into()];
    assert_eq!(counts(&three.run(&params).unwrap()), [15, 0, 5]);
}

#[test]
fn a_split_that_is_not_given_is_named_with_those_that_are() {
    let folder = twenty(|i| if i < 15 { "train" } else { "holdout" }, None);
    let error_of = |params: &IngestParams| error(folder.run(params));
    let text = error_of(&given());
    assert!(text.contains("neither \"test\" nor") && text.contains("\"holdout\", \"train\""), "{text}");
    let mut params = given();
    params.split.test = vec!["holdout".into()];
    assert_eq!(counts(&folder.run(&params).unwrap()), [15, 0, 5]);
    params.split.test = vec!["tset".into()];
    let text = error_of(&params);
    assert!(text.contains("split.test names \"tset\"") && text.contains("\"holdout\", \"train\""), "{text}");

    let text = error(Folder::with_samples(3).run(&given()));
    assert!(text.contains("no splits at all (split.by = \"random\""), "{text}");
}

#[test]
fn a_part_whose_samples_are_all_unusable_is_an_error() {
    let folder = twenty(|i| if i < 18 { "train" } else { "test" }, None);
    folder.remove("masks/s18.png");
    folder.remove("masks/s19.png");
    let text = error(folder.run(&given()));
    assert!(text.contains("no usable sample is left to report") && text.contains("\"train\" 18"), "{text}");
}

#[test]
fn groups_are_never_split() {
    let groups: &dyn Fn(u32) -> String = &|i| format!("p{}", i / 4);
    let folder = twenty(|_| "all", Some(groups));
    let mut params = params();
    params.split.validation_share = 0.25;
    for seed in 0..5 {
        params.split.seed = seed;
        let output = folder.run(&params).unwrap();
        // 20 samples in groups of four: a fifth to test, a quarter of the rest to validation.
        assert_eq!(counts(&output), [12, 4, 4], "seed {seed}");
        let parts: BTreeSet<_> =
            output.targets.rows().iter().map(|row| (row.group.clone(), row.split)).collect();
        assert_eq!(parts.len(), 5);
        assert_eq!(output.audit.groups_across_splits, 0);
    }
}

#[test]
fn a_group_on_both_sides_of_a_given_split_is_found() {
    let groups: &dyn Fn(u32) -> String = &|i| format!("p{}", i % 7);
    let folder = twenty(|i| if i < 15 { "train" } else { "test" }, Some(groups));
    let audit = folder.run(&given()).unwrap().audit;
    assert_eq!(audit.groups_across_splits, 5);
    assert_eq!(audit.groups_across_splits_listed, ["p1", "p2", "p3", "p4", "p5"]);
}

/// Sample `id` with the image of seed `of`, a little brighter.
fn look_alike(folder: &Folder, id: &str, of: u32) {
    let (width, height) = (40 + of % 7, 30 + of % 5);
    let mut copy = scene(width, height, of);
    copy.pixels_mut().for_each(|p| p.0 = p.0.map(|v| v.saturating_add(2)));
    folder.file(&format!("images/{id}.png"), &png(&copy, width, height, image::ExtendedColorType::Rgb8));
    folder.file(&format!("masks/{id}.png"), &square_mask(width, height));
}

#[test]
fn no_draw_separates_near_duplicates() {
    let folder = Folder::with_samples(20);
    for i in 0..20 {
        look_alike(&folder, &format!("t{i:02}"), i);
    }
    let mut params = params();
    params.split.validation_share = 0.25;
    let parts = |output: &Output| -> BTreeMap<String, Split> {
        output.targets.rows().iter().map(|row| (row.id.clone(), row.split)).collect()
    };
    for seed in 0..3 {
        params.split.seed = seed;
        let output = folder.run(&params).unwrap();
        let part = parts(&output);
        assert_eq!(counts(&output), [24, 8, 8], "seed {seed}");
        assert!((0..20).all(|i| part[&format!("s{i:02}")] == part[&format!("t{i:02}")]));
        let audit = &output.audit;
        assert_eq!(
            (
                audit.near_duplicates,
                audit.near_duplicates_across_test,
                audit.near_duplicates_across_validation
            ),
            (20, 0, 0)
        );
    }
    // Whether its mask can be used makes no difference to the others.
    let before = parts(&folder.run(&params).unwrap());
    folder.file("masks/t07.png", b"broken");
    let mut after = parts(&folder.run(&params).unwrap());
    after.insert("t07".into(), before["t07"]);
    assert_eq!(before, after);
}

#[test]
fn a_carved_part_keeps_near_duplicates_together_and_a_given_one_stays_as_given() {
    let folder = Folder::with_samples(12);
    look_alike(&folder, "t00", 0);
    look_alike(&folder, "t01", 1);
    let mut csv = "id,split\n".to_owned();
    // s00 is trained on and its look-alike is reported; s01 and its look-alike are both to be trained on.
    (0..12).for_each(|i| csv += &format!("s{i:02},{}\n", if i < 9 { "train" } else { "test" }));
    folder.file("splits.csv", format!("{csv}t00,test\nt01,train\n").as_bytes());
    let mut params = given();
    params.split.validation_share = 0.3;
    for seed in 0..6 {
        params.split.seed = seed;
        let output = folder.run(&params).unwrap();
        assert_eq!(output.target("s01").split, output.target("t01").split, "seed {seed}");
        assert_eq!((output.target("t00").split, count(&output, Split::Test)), (Split::Test, 4));
        assert_eq!(output.audit.near_duplicates_across_validation, 0);
        assert_eq!(output.audit.near_duplicates_across_test, 1);
        assert_ne!(count(&output, Split::Validation), 0);
    }
}

#[test]
fn a_draw_needs_images_that_differ() {
    let folder = Folder::new();
    folder.sample("a", 3);
    look_alike(&folder, "b", 3);
    let text = error(folder.run(&params()));
    assert!(
        text.contains("the dataset has 1; near-duplicates (ingest.duplicate_distance) count as one"),
        "{text}"
    );
}

#[test]
fn groups_are_read_from_names() {
    let folder = Folder::new();
    for i in 0..12 {
        folder.sample(&format!("patient{}_frame{i}", i % 3), i);
    }
    let mut params = params();
    params.split.group_pattern = "^(patient[0-9]+)_".into();
    params.split.test_share = 0.34;
    let output = folder.run(&params).unwrap();
    assert_eq!(counts(&output), [8, 0, 4]);
    assert_eq!(output.target("patient2_frame5").group, "patient2");

    folder.sample("stray", 30);
    let text = error(folder.run(&params));
    assert!(text.contains("does not match the name \"stray\" (images/stray.png)"), "{text}");
    params.split.group_pattern = "patient".into();
    assert!(error(folder.run(&params)).contains("no capture group"));
    params.split.group_pattern = "(".into();
    assert!(error(folder.run(&params)).contains("not a regular expression"));
    params.split.group_pattern = "(.).*".into();
    let folder = Folder::with_samples(4);
    assert!(error(folder.run(&params)).contains("at least two groups, the dataset has 1"));
}

#[test]
fn another_sample_leaves_the_others_where_they_are() {
    let mut params = params();
    params.split.validation_share = 0.2;
    let parts = |count: u32| -> BTreeMap<String, Split> {
        let output = Folder::with_samples(count).run(&params).unwrap();
        output.targets.rows().iter().map(|row| (row.id.clone(), row.split)).collect()
    };
    let (before, after) = (parts(30), parts(31));
    let moved = before.iter().filter(|(id, split)| after[*id] != **split).count();
    assert!(moved <= 2, "{moved} of 30 samples moved");
}

#[test]
fn mask_settings_and_unusable_masks_move_no_sample() {
    let folder = Folder::with_samples(20);
    let parts = |output: &Output| -> Vec<(String, Split)> {
        let mut parts: Vec<_> = output.targets.rows().iter().map(|row| (row.id.clone(), row.split)).collect();
        parts.retain(|(id, _)| id != "s05");
        parts
    };
    let before = parts(&folder.run(&params()).unwrap());
    folder.remove("masks/s05.png");
    assert_eq!(before, parts(&folder.run(&params()).unwrap()));
}

#[test]
fn the_limit_counts_samples_of_each_given_split() {
    let folder = twenty(|i| if i % 2 == 0 { "train" } else { "test" }, None);
    let mut params = given();
    params.ingest.limit = 3;
    let output = folder.run(&params).unwrap();
    assert_eq!(output.ids(), ["s00", "s01", "s02", "s03", "s04", "s05"]);
    assert_eq!(output.images.len(), 6);
}

#[test]
fn the_table_and_the_files_must_agree() {
    let folder = Folder::with_samples(4);
    folder.file("splits.csv", b"id,split\ns00,train\ns01,test\ns02,train\nghost,train\n");
    let output = folder.run(&given()).unwrap();
    let reasons: Vec<_> =
        output.rejected.iter().map(|r| (r.id.as_str(), r.place.as_str(), r.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("ghost", "splits.csv line 5", "it has neither an image nor a mask"),
            ("s03", "images/s03.png", "splits.csv does not name it"),
        ]
    );
    folder.file("splits.csv", b"id,split\ns00,train\ns00,test\n");
    assert!(error(folder.run(&given())).contains("names s00 twice, the second time in line 3"));
    folder.file("splits.csv", b"name,part\ns00,train\n");
    assert!(
        error(folder.run(&given())).contains("needs the columns id,split[,group], its header is name,part")
    );
    folder.file("splits.csv", b"id,split,group\ns00,train,a\ns01,test,b\ns02,train,\ns03,train,c\n");
    assert_eq!(folder.run(&given()).unwrap().only_reject(), ("s02", "splits.csv gives it no group"));
}
