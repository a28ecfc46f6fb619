//! On which devices the stages of a run compute.
//!
//! GPUs are looked up when the pipeline is read, before anything runs: a key needs their architecture, and nobody wants to hear
//! after the download that there is no driver.

use crate::plan::Step;
use resect_device::{Choice, Device, DeviceError, Gpu, Settings};
use serde_json::Value;

/// Where a stage computes.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub device: Device,
    /// What the driver says of it, unless it is the CPU.
    pub gpu: Option<Gpu>,
}

impl Place {
    /// Looks a device up; with `auto` also says which one it is.
    pub fn find(choice: Choice) -> Result<Self, DeviceError> {
        match choice {
            Choice::Device(Device::Cpu) => Ok(Self::default()),
            Choice::Device(device @ Device::Cuda(index)) => Ok(Self { device, gpu: Some(Gpu::find(index)?) }),
            Choice::Auto => match Gpu::find(0) {
                Ok(gpu) => {
                    say!("device auto is {gpu}");
                    Ok(Self { device: Device::Cuda(0), gpu: Some(gpu) })
                }
                Err(error) => {
                    let error = error.to_string();
                    say!("device auto is cpu: {}", error.lines().next().unwrap_or_default());
                    Ok(Self::default())
                }
            },
        }
    }

    /// What a stage's notes say where nobody promises that a second run gives the same bytes: nothing of the CPU.
    pub fn caveat(&self) -> Option<&'static str> {
        self.gpu
            .as_ref()
            .map(|_| "on a GPU a second run may give other bytes: docs/cuda.md says which, and why")
    }

    /// What a run's record says of it: nothing of the CPU. `deterministic` is false, see [`Place::caveat`].
    pub fn provenance(&self) -> Option<Value> {
        let gpu = self.gpu.as_ref()?;
        let known = gpu.provenance().into_iter().map(|(field, value)| (field.to_owned(), value.into()));
        let device = ("device".to_owned(), self.device.to_string().into());
        let promise = ("deterministic".to_owned(), false.into());
        Some(Value::Object([device, promise].into_iter().chain(known).collect()))
    }
}

/// Where each stage computes.
pub struct Places {
    embed: Place,
    train: Place,
    evaluate: Place,
    /// Sources and `ingest`.
    cpu: Place,
}

impl Places {
    /// Looks up all that a pipeline names.
    pub fn find(settings: &Settings) -> Result<Self, DeviceError> {
        let mut found: Vec<(Choice, Place)> = Vec::new();
        let mut find = |choice: Choice| match found.iter().find(|(known, _)| *known == choice) {
            Some((_, place)) => Ok(place.clone()),
            None => {
                let place = Place::find(choice)?;
                found.push((choice, place.clone()));
                Ok(place)
            }
        };
        let (embed, train) = (find(settings.embed)?, find(settings.train)?);
        Ok(Self { embed, train, evaluate: find(settings.evaluate)?, cpu: Place::default() })
    }

    pub fn of(&self, step: Step) -> &Place {
        match step {
            Step::Embed => &self.embed,
            Step::Train => &self.train,
            Step::Evaluate => &self.evaluate,
            Step::Dataset | Step::Base | Step::Ingest => &self.cpu,
        }
    }

    /// Whether any stage needs a program with a backend for GPUs.
    pub fn need_cuda(&self) -> bool {
        [&self.embed, &self.train, &self.evaluate].iter().any(|place| place.gpu.is_some())
    }
}
