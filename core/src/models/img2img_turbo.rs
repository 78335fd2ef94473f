//! img2img-turbo: changes of the UNet and of the autoencoder, fitted to a base model, and weights with them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::net::{ChangedTensor, LowRank, NetworkChanges, TensorSum, WeightSource, WeightSpec, Weights, same_layout};

/// What the names of the convolutions of skip connections begin with.
const SKIP: &str = "decoder.skip_conv_";
/// Names listed in a message; the rest is counted.
const NAMES_LISTED: usize = 5;

/// The changes of one network by a file of img2img-turbo, by the names of its weights.
pub struct TurboChanges {
    file: Arc<dyn WeightSource>,
    loras: Vec<(String, Arc<LowRank>)>,
    tensors: BTreeMap<String, (Vec<usize>, ChangedTensor)>,
}

/// Returns whether `spec` is the weight of a skip connection of the autoencoder.
pub fn is_skip_weight(spec: &WeightSpec) -> bool {
    spec.name.starts_with(SKIP)
}

impl TurboChanges {
    /// Finds what `changes`, with tensors of `file`, change of the network called `network`, which has the weights `specs`.
    ///
    /// # Errors
    ///
    /// `BadModel` naming the tensor, if the network has no such weight, or one of another shape.
    pub fn fit(
        network: &str,
        changes: NetworkChanges,
        specs: &[WeightSpec],
        file: &Arc<dyn WeightSource>,
    ) -> Result<Self> {
        let by_name: HashMap<&str, &WeightSpec> = specs.iter().map(|spec| (spec.name.as_str(), spec)).collect();
        let find = |key: &str, name: &str, shape: &[usize]| {
            let bad = |text: String| Err(Error::new(ErrorKind::BadModel, format!("tensor {key:?}: {text}")));
            match by_name.get(name) {
                None => bad(format!(
                    "got a change of {name}, expected one of the {} weights of the {network}",
                    by_name.len()
                )),
                Some(spec) if !same_layout(shape, &spec.shape) => {
                    bad(format!("got shape {shape:?} for {name}, expected {:?} as in the {network}", spec.shape))
                }
                Some(_) => Ok(()),
            }
        };
        let mut loras = Vec::with_capacity(changes.layers.len());
        for layer in changes.layers {
            let name = format!("{}.weight", layer.name);
            find(&layer.key, &name, layer.change.shape())?;
            loras.push((name, Arc::new(layer.change)));
        }
        let mut tensors = BTreeMap::new();
        for (name, tensor) in changes.tensors {
            let mut own = Vec::new();
            for key in tensor.names() {
                own = file.shape(key).unwrap_or_default();
                find(key, &name, &own)?;
            }
            tensors.insert(name, (own, tensor));
        }
        Ok(Self { file: file.clone(), loras, tensors })
    }

    /// Checks that there is a tensor for each of `specs`.
    ///
    /// # Errors
    ///
    /// `BadModel` naming those that are missing.
    pub fn require<'a>(&self, specs: impl Iterator<Item = &'a WeightSpec>) -> Result<()> {
        let (found, missing): (Vec<&str>, Vec<&str>) =
            specs.map(|spec| spec.name.as_str()).partition(|name| self.tensors.contains_key(*name));
        if missing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "weights of the autoencoder: got {} of {}, expected all; missing: {}",
            found.len(),
            found.len() + missing.len(),
            missing.iter().take(NAMES_LISTED).copied().collect::<Vec<_>>().join(", ")
        );
        Err(Error::new(ErrorKind::BadModel, text))
    }

    /// Returns the weights `base` with these at `strength`, in 0..=1: of LoRAs, of the trained one of two tensors that are
    /// mixed, and of what skip connections carry. Nothing is read before the weights are.
    pub fn weights(&self, base: &Arc<Weights>, strength: f64) -> Arc<Weights> {
        let strength = strength as f32;
        // A skip connection carries the encoder's value times the strength: the convolution is linear.
        let share = |name: &str| if name.starts_with(SKIP) { strength } else { 1.0 };
        let sum = |(name, (shape, tensor)): (&String, &(Vec<usize>, ChangedTensor))| {
            let parts = match tensor {
                ChangedTensor::One(key) => vec![(share(name), key.clone())],
                ChangedTensor::Twins(own, trained) => {
                    [(1.0 - strength, own), (strength, trained)].map(|(part, key)| (part, key.clone())).to_vec()
                }
            };
            (name.clone(), TensorSum { shape: shape.clone(), parts })
        };
        let replaced = Weights::replaced(base, self.file.clone(), self.tensors.iter().map(sum).collect());
        let scale = |name: &str| strength * share(name);
        let changes = self.loras.iter().map(|(name, change)| (name.clone(), scale(name), change.clone()));
        Weights::merged(&replaced, changes)
    }
}

impl fmt::Debug for TurboChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (loras, tensors) = (self.loras.len(), self.tensors.len());
        f.debug_struct("TurboChanges").field("loras", &loras).field("tensors", &tensors).finish_non_exhaustive()
    }
}
