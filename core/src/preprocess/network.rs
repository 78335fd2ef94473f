//! The networks that processors run, each with the settings that determine its layout.

use serde_json::{Map, Value};

use super::flow::Raft;
use super::pose::PoseStyle;
use super::segmentation;
use crate::load::{WeightFile, published};
use crate::models::annotators::View;
use crate::params::{DepthSettings, DepthTensorrtSettings, LineartSettings, TemporalNetSettings};

/// A network of a processor, and the settings that determine its layout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Network {
    Edges,
    Lineart {
        coarse: bool,
        detect: usize,
    },
    Anime {
        detect: usize,
    },
    Depth {
        /// Another model than the default one.
        model: Option<String>,
        detect: usize,
    },
    Pose(PoseStyle),
    /// At its own width and height.
    Flow((usize, usize)),
    Segmentation(View),
    Enlarging,
}

impl Network {
    /// Returns true if its layout depends on the size of the stream.
    pub(super) fn depends_on_size(&self) -> bool {
        match self {
            Self::Pose(_) | Self::Segmentation(_) | Self::Flow(_) => false,
            Self::Edges | Self::Lineart { .. } | Self::Anime { .. } | Self::Depth { .. } | Self::Enlarging => true,
        }
    }

    /// Returns the locations of its weights, in order of preference; empty if they are in the binary.
    pub(super) fn weight_files(&self) -> Vec<WeightFile<'_>> {
        let files = match self {
            Self::Edges => published::HED,
            Self::Lineart { coarse: true, .. } => published::LINEART_COARSE,
            Self::Lineart { coarse: false, .. } => published::LINEART,
            Self::Anime { .. } => published::LINEART_ANIME,
            Self::Depth { model: Some(model), .. } => {
                return published::DEPTH_FILES.map(|file| (&**model, file)).to_vec();
            }
            Self::Depth { model: None, .. } => published::DEPTH,
            Self::Flow(_) => published::RAFT,
            Self::Enlarging => published::UPSCALER,
            Self::Pose(_) | Self::Segmentation(_) => &[],
        };
        files.to_vec()
    }

    /// Returns the network of `lineart`.
    pub(super) fn lineart(settings: &Map<String, Value>) -> Self {
        let LineartSettings { detect_resolution, coarse, anime_style } = LineartSettings::read(settings);
        let detect = detect_resolution as usize;
        if anime_style { Self::Anime { detect } } else { Self::Lineart { coarse, detect } }
    }

    /// Returns the network of `depth`.
    pub(super) fn depth(settings: &Map<String, Value>) -> Self {
        let DepthSettings { model, detect_resolution } = DepthSettings::read(settings);
        // The service's own network is not supported.
        let model = (model != DepthSettings::default().model).then_some(model);
        Self::Depth { model, detect: detect_resolution as usize }
    }

    /// Returns the network of `depth_tensorrt`.
    pub(super) fn depth_tensorrt(settings: &Map<String, Value>) -> Self {
        let DepthTensorrtSettings { detect_resolution } = DepthTensorrtSettings::read(settings);
        Self::Depth { model: None, detect: detect_resolution as usize }
    }

    /// Returns the network of `temporal_net_tensorrt`.
    pub(super) fn flow(settings: &Map<String, Value>) -> Self {
        let TemporalNetSettings { width, height, .. } = TemporalNetSettings::read(settings);
        Self::Flow(Raft::size((width as usize, height as usize)))
    }

    /// Returns the network of `mediapipe_segmentation`.
    pub(super) fn segmentation(settings: &Map<String, Value>) -> Self {
        Self::Segmentation(segmentation::view(settings))
    }
}
