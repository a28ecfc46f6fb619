//! What training a single mask needs not, for [`TapeDecoder::predict_masks`]: the networks of the masks 1 to 3, and that of the IoU.
//!
//! [`TapeDecoder::predict_masks`]: crate::TapeDecoder::predict_masks

use std::collections::BTreeMap;

use resect_checkpoint::NamedTensor;
use resect_kernels::{dot, relu_in_place, vectorised};

use crate::Error;

/// These networks of one decoder.
#[derive(Debug)]
pub struct Heads {
    iou: Network,
    /// Of the masks from 1 on.
    hypernetworks: Vec<Network>,
}

impl Heads {
    /// Finds their tensors by Hugging Face names; others may be among them.
    pub(crate) fn from_tensors<'a>(tensors: impl Iterator<Item = &'a NamedTensor>) -> Result<Self, Error> {
        let tensors: BTreeMap<&str, &NamedTensor> = tensors.map(|t| (t.name.as_str(), t)).collect();
        let network = |mask: usize| format!("mask_decoder.output_hypernetworks_mlps.{mask}");
        let there =
            |mask: &usize| tensors.contains_key(format!("{}.proj_in.weight", network(*mask)).as_str());
        Ok(Self {
            iou: Network::named("mask_decoder.iou_prediction_head", &tensors)?,
            hypernetworks: (1..)
                .take_while(there)
                .map(|mask| Network::named(&network(mask), &tensors))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The estimated IoU of each mask, from the IoU's token.
    pub(crate) fn iou(&self, token: &[f32]) -> Vec<f32> {
        self.iou.forward(token)
    }

    /// With what the upscaled image is multiplied for a mask from 1 on, from its token.
    pub(crate) fn hypernetwork(&self, mask: usize, token: &[f32]) -> Vec<f32> {
        self.hypernetworks[mask - 1].forward(token)
    }
}

/// Linear layers with rectifiers between them. (`SamFeedForward`)
#[derive(Debug)]
struct Network {
    /// Weight `[out, in]` and bias `[out]` of each.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Network {
    fn named(name: &str, tensors: &BTreeMap<&str, &NamedTensor>) -> Result<Self, Error> {
        let tensor = |name: String| match tensors.get(name.as_str()) {
            Some(tensor) => Ok(tensor.data.clone()),
            None => Err(Error::Parameter { name, message: "no tensor of this name".into() }),
        };
        let layer = |name: String| -> Result<_, Error> {
            Ok((tensor(format!("{name}.weight"))?, tensor(format!("{name}.bias"))?))
        };
        let hidden = (0..).map(|i| format!("{name}.layers.{i}"));
        let hidden = hidden.take_while(|layer| tensors.contains_key(format!("{layer}.weight").as_str()));
        let names = [format!("{name}.proj_in")].into_iter().chain(hidden).chain([format!("{name}.proj_out")]);
        Ok(Self { layers: names.map(layer).collect::<Result<_, _>>()? })
    }

    fn forward(&self, token: &[f32]) -> Vec<f32> {
        let mut x = token.to_vec();
        for (i, (weight, bias)) in self.layers.iter().enumerate() {
            if i > 0 {
                relu_in_place(&mut x);
            }
            x = vectorised(
                #[inline(always)]
                || weight.chunks_exact(x.len()).zip(bias).map(|(row, bias)| dot(row, &x) + bias).collect(),
            );
        }
        x
    }
}
