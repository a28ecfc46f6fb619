use super::*;
use resect_artifact::Hash;
use resect_device::{Device, Gpu};

#[test]
fn other_bytes_are_a_fault_on_the_cpu_alone_and_can_be_looked_at_anywhere() {
    let outputs = |ids: [&str; 2]| -> Outputs {
        ["images", "targets"]
            .into_iter()
            .map(str::to_owned)
            .zip(ids.map(|id| Hash::of(id.as_bytes())))
            .collect()
    };
    let (before, now) = (outputs(["a", "same"]), outputs(["b", "same"]));
    let gpu = Gpu { index: 0, name: "x".into(), capability: (9, 0), memory: 1, cuda: "12.8".into() };
    let on_gpu = Place { device: Device::Cuda(0), gpu: Some(gpu) };
    let [cpu, gpu] = [Place::default(), on_gpu].map(|place| other_bytes(&before, &now, &place));
    assert!(cpu.contains("NOT DETERMINISTIC") && !gpu.contains("NOT DETERMINISTIC"), "{cpu}{gpu}");
    let command = format!("cargo xtask diff {} {}", before["images"].short(), now["images"].short());
    for said in [cpu, gpu] {
        assert!(said.contains(&command) && said.matches("cargo xtask diff").count() == 1, "{said}");
    }
}
