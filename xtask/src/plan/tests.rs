use super::*;

#[test]
fn differences_name_each_field() {
    let before = json!({"params": {"learning_rate": 1e-5, "epochs": 3}, "inputs": {"images": "a"}});
    let after = json!({"params": {"learning_rate": 3e-5, "epochs": 3}, "inputs": {"images": "b"}});
    let mut found = Vec::new();
    differences(&before, &after, "", &mut found);
    let paths: Vec<&str> = found.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["inputs.images", "params.learning_rate"]);
    assert_eq!(plain(&found[1].before), "1e-5");
    assert_eq!(setting_name(Step::Train, "learning_rate"), "train.learning_rate");
    assert_eq!(setting_name(Step::Embed, "views"), "train.augment");
    assert_eq!(setting_name(Step::Ingest, "mask.threshold"), "mask.threshold");
    assert_eq!(setting_name(Step::Ingest, "layout.image_column"), "dataset.image_column");
}

#[test]
fn the_kind_of_arithmetic_is_that_of_the_device_and_of_the_cpu_as_it_was() {
    let gpu = resect_device::Gpu {
        index: 1,
        name: "A".into(),
        capability: (9, 0),
        memory: 1 << 30,
        cuda: "12.8".into(),
    };
    let place = Place { device: resect_device::Device::Cuda(1), gpu: Some(gpu) };
    assert_eq!(numeric_class(Step::Embed, &place), "cuda-sm90");
    assert_eq!(numeric_class(Step::Ingest, &place), "exact");
    assert_eq!(place.provenance().unwrap()["device"], "cuda:1");
    let cpu = format!("flex-f32-{}-{}", std::env::consts::ARCH, vector_instructions());
    assert_eq!(numeric_class(Step::Train, &Place::default()), cpu);
    assert_eq!(Place::default().provenance(), None);
}

#[test]
fn every_input_is_made_by_an_earlier_step() {
    for place in [ModelPlace::Pixels, ModelPlace::Block(1), ModelPlace::Neck] {
        for (i, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step.inputs(place).is_empty(), step.is_source());
            for input in step.inputs(place) {
                assert!(Step::ALL[..i].iter().any(|earlier| earlier.outputs().contains(input)), "{input}");
            }
        }
    }
}
