use super::*;

#[test]
fn names_are_read_and_written() {
    for (name, device, written) in [
        ("cpu", Device::Cpu, "cpu"),
        ("cuda", Device::Cuda(0), "cuda:0"),
        ("cuda:0", Device::Cuda(0), "cuda:0"),
        ("cuda:12", Device::Cuda(12), "cuda:12"),
    ] {
        assert_eq!((name.parse(), device.to_string().as_str()), (Ok(device), written));
        assert_eq!(name.parse(), Ok(Choice::Device(device)));
    }
    assert_eq!(("auto".parse(), Choice::Auto.to_string().as_str()), (Ok(Choice::Auto), "auto"));
    for name in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda:70000", "cuda0"] {
        let error = name.parse::<Choice>().unwrap_err().to_string();
        assert_eq!(error, format!("there is no device \"{name}\"; there are cpu, cuda, cuda:N and auto"));
        assert!(name.parse::<Device>().unwrap_err().to_string().ends_with("cpu, cuda and cuda:N"));
    }
}

#[test]
fn settings_are_strings_in_a_file() {
    let settings: Settings = serde_json::from_str(r#"{"embed": "cuda:1", "train": "auto"}"#).unwrap();
    assert_eq!(settings.embed, Choice::Device(Device::Cuda(1)));
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(text, r#"{"embed":"cuda:1","train":"auto","evaluate":"cpu"}"#);
}
