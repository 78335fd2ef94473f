//! Loading of the networks of processors.
//!
//! Weights are read from the engine's [`ModelSource`], as safetensors, in the published layouts; a pickled
//! file of the same name (`.pth`) is used where there is no safetensors file:
//!
//! | processor | weights |
//! |---|---|
//! | `hed` | `lllyasviel/Annotators`, file `ControlNetHED.safetensors`; otherwise the embedded network TIN (feature
//! `edges`) |
//! | `lineart` | `lllyasviel/Annotators`, file `sk_model2.safetensors` for coarse lines, otherwise
//! `sk_model.safetensors`; with `anime_style` `netG.safetensors` |
//! | `depth`, `depth_tensorrt` | Depth Anything V2: the id that `model` names, or
//! `depth-anything/Depth-Anything-V2-Small-hf` (`model.safetensors`), then `depth-anything/Depth-Anything-V2-Small`
//! (`depth_anything_v2_vits.safetensors`) |
//! | `openpose`, `mediapipe_pose`, `pose_tensorrt` | embedded: MoveNet (feature `pose`) |
//! | `mediapipe_segmentation` | embedded: MediaPipe's selfie segmentation (feature `segmentation`) |
//! | `temporal_net_tensorrt` | RAFT-small: `torchvision/raft_small` or `lllyasviel/Annotators`, file
//! `raft_small_C_T_V2-01064c6d.safetensors`; otherwise flow without weights |
//! | `realesrgan_trt` | `xinntao/Real-ESRGAN` or `lllyasviel/Annotators`, file `RealESRGAN_x2plus.safetensors` |
//!
//! An id is resolved to a folder: `organisation/name` or `name` in a directory of models, or
//! in the Hugging Face cache.

mod maps;
#[cfg(feature = "safety")]
mod nsfw;
mod upscaler;
mod weight_locator;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value};

use self::maps::Maps;
#[cfg(feature = "safety")]
pub use self::nsfw::NsfwClassifier;
use self::upscaler::Enlarging;
use self::weight_locator::WeightLocator;
use super::flow::{FlowFactory, Raft};
use super::network::Network;
use super::pose::PoseFactory;
use super::processors::{Runs, processor};
use super::segmentation::SegmentationFactory;
use super::{Factory, Networks};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::Executor;
use crate::load::ModelSource;
use crate::params::ProcessorName;

/// The default size of images.
const USUAL: (usize, usize) = (512, 512);

/// The published weights of a processor's network.
#[cfg(feature = "hub")]
pub(crate) struct NetworkFiles {
    /// Their ids, `organisation/name/file`, in order of preference.
    pub(crate) ids: Vec<String>,
    /// Whether the processor runs without them, with embedded weights or none.
    pub(crate) optional: bool,
}

/// Returns the weights of the processor `name`; `None` if it needs no files.
#[cfg(feature = "hub")]
pub(crate) fn network_files(name: ProcessorName, settings: &Map<String, Value>) -> Option<NetworkFiles> {
    let Runs::Network(network) = processor(name).runs else { return None };
    let network = network(settings);
    let ids: Vec<String> = network.weight_files().iter().map(|(id, file)| format!("{id}/{file}")).collect();
    (!ids.is_empty()).then_some(NetworkFiles { ids, optional: matches!(network, Network::Edges | Network::Flow(_)) })
}

/// Loads the networks of processors, and shares them while they are in use.
pub struct ModelNetworks {
    locator: WeightLocator,
    executor: Arc<dyn Executor>,
    loaded: Mutex<HashMap<Key, Weak<dyn Factory>>>,
}

/// The options of a factory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    network: Network,
    size: (usize, usize),
}

impl ModelNetworks {
    /// Creates networks with weights from `source` that run on `executor`. Loads nothing yet.
    pub fn new(source: ModelSource, executor: Arc<dyn Executor>) -> Self {
        Self { locator: WeightLocator::new(source), executor, loaded: Mutex::default() }
    }

    fn load_for(
        &self,
        name: ProcessorName,
        settings: &Map<String, Value>,
        size: (usize, usize),
    ) -> Result<Arc<dyn Factory>> {
        let Runs::Network(network) = processor(name).runs else {
            return Err(Error::new(ErrorKind::Unsupported, "the processor has no network"));
        };
        let network = network(settings);
        let size = if network.depends_on_size() { size } else { USUAL };
        self.factory(&Key { network, size })
    }

    fn factory(&self, key: &Key) -> Result<Arc<dyn Factory>> {
        let find = || {
            let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
            loaded.get(key).and_then(Weak::upgrade)
        };
        if let Some(found) = find() {
            return Ok(found);
        }
        // Loaded without holding the lock, so that different networks load concurrently. Of two concurrent loads of the
        // same
        // network, the second uses the result of the first.
        let made = self.make(key)?;
        if let Some(found) = find() {
            return Ok(found);
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, factory| factory.strong_count() > 0);
        loaded.insert(key.clone(), Arc::downgrade(&made));
        Ok(made)
    }

    fn make(&self, key: &Key) -> Result<Arc<dyn Factory>> {
        let (locator, executor) = (&self.locator, &*self.executor);
        let files = &*key.network.weight_files();
        Ok(match key.network {
            Network::Edges => match locator.find(files)? {
                Some(weights) => Arc::new(Maps::edges(weights, executor, key.size)?),
                None => Arc::new(Maps::small_edges(locator, files, executor, key.size)?),
            },
            Network::Lineart { detect, .. } => {
                Arc::new(Maps::lineart(locator.require(files)?, executor, key.size, detect)?)
            }
            Network::Anime { detect } => Arc::new(Maps::anime(locator.require(files)?, executor, key.size, detect)?),
            Network::Depth { detect, .. } => {
                Arc::new(Maps::depth(locator.require(files)?, executor, key.size, detect)?)
            }
            Network::Pose(style) => Arc::new(PoseFactory::load(executor, style)?),
            Network::Flow(size) => {
                let weights = locator.find(files)?;
                let raft = weights.map(|weights| Raft::new(executor, weights, size)).transpose()?;
                Arc::new(FlowFactory { raft })
            }
            Network::Segmentation(view) => Arc::new(SegmentationFactory::load(executor, view)?),
            Network::Enlarging => Arc::new(Enlarging::load(locator.require(files)?, executor, key.size)?),
        })
    }
}

impl fmt::Debug for ModelNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelNetworks").field("locator", &self.locator).finish_non_exhaustive()
    }
}

/// Compiles for the default size; images of other sizes are resized to the network's input.
impl Networks for ModelNetworks {
    fn load(&self, name: ProcessorName, settings: &Map<String, Value>) -> Result<Arc<dyn Factory>> {
        self.load_for(name, settings, USUAL)
    }

    fn sized(self: Arc<Self>, size: (usize, usize)) -> Arc<dyn Networks> {
        Arc::new(Sized { all: self, size })
    }
}

/// Networks for images of one size.
#[derive(Debug)]
struct Sized {
    all: Arc<ModelNetworks>,
    size: (usize, usize),
}

impl Networks for Sized {
    fn load(&self, name: ProcessorName, settings: &Map<String, Value>) -> Result<Arc<dyn Factory>> {
        self.all.load_for(name, settings, self.size)
    }

    fn sized(self: Arc<Self>, size: (usize, usize)) -> Arc<dyn Networks> {
        self.all.clone().sized(size)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::exec::reference::ReferenceExecutor;

    /// Writes a file of zeros, by name and shape.
    fn write(path: &Path, tensors: &[(&str, &[usize])]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let zeros = vec![0_u8; tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() * 4).max().unwrap_or(0)];
        let view = |shape: &[usize]| {
            TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..shape.iter().product::<usize>() * 4]).unwrap()
        };
        let views = tensors.iter().map(|&(name, shape)| (name, view(shape)));
        std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn refused(folder: &Path, name: ProcessorName) -> (ErrorKind, String) {
        let networks = ModelNetworks::new(ModelSource::folder(folder), Arc::new(ReferenceExecutor));
        let error = networks.load(name, &Map::new()).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn weights_of_a_wrong_shape_are_rejected_by_name() {
        type Tensors<'a> = &'a [(&'a str, &'a [usize])];
        let hed = "lllyasviel/Annotators/ControlNetHED.safetensors";
        let lineart = "Annotators/sk_model2.safetensors";
        let depth = "depth-anything--Depth-Anything-V2-Small/depth_anything_v2_vits.safetensors";
        let larger = "xinntao/Real-ESRGAN/RealESRGAN_x2plus.safetensors";
        let flow = "torchvision/raft_small/raft_small_C_T_V2-01064c6d.safetensors";
        let alike = "update_block.motion_encoder.convcorr1.0.weight";
        let cases: [(&str, ProcessorName, Tensors<'_>, &str); 10] = [
            (hed, ProcessorName::Hed, &[], "\"norm\""),
            (hed, ProcessorName::Hed, &[("norm", &[1, 3, 1, 1])], "\"block1.convs.0.weight\""),
            (hed, ProcessorName::Hed, &[("norm", &[3]), ("block1.convs.0.weight", &[4, 3, 3, 3])], "[1, 3, 1, 1]"),
            (lineart, ProcessorName::Lineart, &[("model0.1.weight", &[4, 3])], "[4, 3]"),
            (lineart, ProcessorName::Lineart, &[("model0.1.weight", &[4, 3, 7, 7])], "model0.1.bias"),
            (
                depth,
                ProcessorName::Depth,
                &[("pretrained.patch_embed.proj.weight", &[16, 3, 16, 16])],
                "got a side of 16",
            ),
            (larger, ProcessorName::RealesrganTrt, &[("conv_first.weight", &[64, 3, 3, 3])], "got 3, expected 12"),
            (
                larger,
                ProcessorName::RealesrganTrt,
                &[("conv_first.weight", &[0, 12, 3, 3])],
                "dimensions of at least 1",
            ),
            (flow, ProcessorName::TemporalNetTensorrt, &[("x", &[1])], alike),
            (flow, ProcessorName::TemporalNetTensorrt, &[(alike, &[256, 324, 1, 1])], "324"),
        ];
        for (file, name, tensors, words) in cases {
            let folder = tempfile::tempdir().unwrap();
            write(&folder.path().join(file), tensors);
            let (kind, text) = refused(folder.path(), name);
            assert!(matches!(kind, ErrorKind::BadModel | ErrorKind::Unsupported), "{text}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn anime_lines_with_another_network_are_rejected_with_the_reason() {
        type Tensors<'a> = &'a [(&'a str, &'a [usize])];
        let first: (&str, &[usize]) = ("module.model.model.0.weight", &[2, 3, 4, 4]);
        let second: (&str, &[usize]) = ("module.model.model.1.model.1.weight", &[2, 2, 4, 4]);
        let cases: [(Tensors<'_>, &str); 3] = [
            (&[], "model.model.0.weight"),
            (&[first], "levels of the network: got 1"),
            (&[first, second], "model.model.0.bias"),
        ];
        for (tensors, words) in cases {
            let folder = tempfile::tempdir().unwrap();
            write(&folder.path().join("Annotators/netG.safetensors"), tensors);
            let networks = ModelNetworks::new(ModelSource::folder(folder.path()), Arc::new(ReferenceExecutor));
            let settings = serde_json::json!({"anime_style": true});
            let error = networks.load(ProcessorName::Lineart, settings.as_object().unwrap()).unwrap_err();
            assert!(error.kind() == ErrorKind::BadModel && error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_broken_pickled_file_is_an_error_not_a_fallback() {
        let folder = tempfile::tempdir().unwrap();
        let annotators = folder.path().join("lllyasviel/Annotators");
        std::fs::create_dir_all(&annotators).unwrap();
        std::fs::write(annotators.join("ControlNetHED.pth"), b"pickle").unwrap();
        let (kind, text) = refused(folder.path(), ProcessorName::Hed);
        assert_eq!(kind, ErrorKind::BadModel, "{text}");
        assert!(text.contains("ControlNetHED.pth"), "{text}");
    }
}
