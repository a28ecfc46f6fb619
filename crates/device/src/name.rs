//! The names by which a person asks for a device.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a stage computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// `cpu`
    #[default]
    Cpu,
    /// `cuda:N`, the GPU of that number in the driver's order (`CUDA_VISIBLE_DEVICES` counts); `cuda` is `cuda:0`.
    Cuda(usize),
}

/// Where a person wants a stage to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Choice {
    /// There and nowhere else.
    Device(Device),
    /// `auto`: on `cuda:0` where the driver has a GPU, else on the CPU.
    Auto,
}

/// `[device]` of a pipeline file. `ingest` computes in integers on the CPU alone.
///
/// A device enters a stage's key by the kind of arithmetic it does, not by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where images are encoded.
    pub embed: Choice,
    /// Where the decoder is tuned.
    pub train: Choice,
    /// Where the decoders that are scored run.
    pub evaluate: Choice,
}

/// A name that no device has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device \"{name}\"; there are {}", if *.auto { "cpu, cuda, cuda:N and auto" } else { "cpu, cuda and cuda:N" })]
pub struct UnknownDevice {
    /// What was given.
    pub name: String,
    /// Whether `auto` would have been taken.
    auto: bool,
}

impl Default for Choice {
    fn default() -> Self {
        Self::Device(Device::Cpu)
    }
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        let unknown = || UnknownDevice { name: name.into(), auto: false };
        match name {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = name.strip_prefix("cuda:").ok_or_else(unknown)?;
                // `parse` would take a sign, too.
                let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
                let index = index.parse::<u16>().ok().filter(|_| digits).ok_or_else(unknown)?;
                Ok(Self::Cuda(index.into()))
            }
        }
    }
}

impl FromStr for Choice {
    type Err = UnknownDevice;

    fn from_str(name: &str) -> Result<Self, UnknownDevice> {
        match name {
            "auto" => Ok(Self::Auto),
            _ => name
                .parse()
                .map(Self::Device)
                .map_err(|unknown: UnknownDevice| UnknownDevice { auto: true, ..unknown }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => device.fmt(f),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;

    fn try_from(name: String) -> Result<Self, UnknownDevice> {
        name.parse()
    }
}

impl TryFrom<String> for Choice {
    type Error = UnknownDevice;

    fn try_from(name: String) -> Result<Self, UnknownDevice> {
        name.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl From<Choice> for String {
    fn from(choice: Choice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests;
