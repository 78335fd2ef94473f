//! Published repositories with several networks, and the files in them that are read.

use crate::load::adapter::AdapterWanted;
use crate::load::published::{DEPTH, HED, LINEART, LINEART_ANIME, LINEART_COARSE, RAFT, UPSCALER};
use crate::load::weight_names::WeightFile;

/// All networks of processors.
const PROCESSORS: [&[WeightFile<'_>]; 7] = [HED, LINEART, LINEART_COARSE, LINEART_ANIME, DEPTH, RAFT, UPSCALER];

/// What is read of a repository that is not one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A file of weights, or a pickled one with its name.
    File(&'static str),
    /// A folder with a network: its configs and one set of weights.
    Network(&'static str),
}

impl Part {
    /// Returns its path in the repository.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::File(path) | Self::Network(path) => path,
        }
    }
}

/// Returns what is read of `repository`; empty if it is not one of those with several networks.
pub(super) fn parts(repository: &str) -> Vec<Part> {
    let networks = PROCESSORS.iter().copied().flatten().filter(|(id, _)| *id == repository);
    let mut parts: Vec<Part> = networks.map(|(_, file)| Part::File(file)).collect();
    for wanted in AdapterWanted::all().into_iter().filter(|wanted| wanted.repository() == repository) {
        let (file, encoder) = wanted.places();
        parts.push(Part::File(file));
        parts.extend(encoder.map(Part::Network));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collections_have_the_files_of_their_networks() {
        let adapters = [
            Part::File("models/ip-adapter_sd15.safetensors"),
            Part::Network("models/image_encoder"),
            Part::File("sdxl_models/ip-adapter_sdxl.safetensors"),
            Part::Network("sdxl_models/image_encoder"),
        ];
        assert_eq!(parts("h94/IP-Adapter"), adapters);
        let faces = ["ip-adapter-faceid_sd15.safetensors", "ip-adapter-faceid_sdxl.safetensors"].map(Part::File);
        assert_eq!(parts("h94/IP-Adapter-FaceID"), faces);
        assert_eq!(parts("lllyasviel/Annotators").len(), 6);
        assert_eq!(parts("stabilityai/sd-turbo"), []);
    }
}
