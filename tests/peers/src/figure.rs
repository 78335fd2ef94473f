//! A figure: a case, whom it is compared with, and what the ratio should be.

use std::fmt;
use std::num::NonZeroUsize;

use clap::ValueEnum;
use serde::Serialize;

use crate::Result;
use crate::case::{Case, Dtype, Part};

/// Whom ours is compared with. The Python libraries have these names in `side.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// torch in eager mode
    Torch,
    /// OpenVINO's CPU plugin
    Openvino,
    /// onnxruntime's CPU provider
    Onnxruntime,
    /// candle-transformers' own UNet, with the same weights
    Candle,
    /// Ourselves, with as many passes of one row as the case has rows
    Single,
}

impl Peer {
    /// The number formats that it computes in.
    fn dtypes(self) -> &'static [Dtype] {
        match self {
            Self::Torch => &[Dtype::F32, Dtype::Bf16],
            Self::Openvino | Self::Single => &[Dtype::F32, Dtype::Bf16, Dtype::Int8],
            Self::Onnxruntime | Self::Candle => &[Dtype::F32],
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torch => "torch",
            Self::Openvino => "openvino",
            Self::Onnxruntime => "onnxruntime",
            Self::Candle => "candle",
            Self::Single => "single",
        })
    }
}

/// What the ratio of the peer's median to ours should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    pub(crate) must: f64,
    pub(crate) aim: f64,
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figure {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) peer: Peer,
    pub(crate) target: Option<Target>,
}

impl Figure {
    /// Checks that both sides can run it.
    ///
    /// # Errors
    ///
    /// What the peer cannot do.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { case, peer, .. } = self;
        if !peer.dtypes().contains(&case.dtype) {
            let dtypes: Vec<String> = peer.dtypes().iter().map(Dtype::to_string).collect();
            return Err(format!("{peer} computes in {} alone, not in {}", dtypes.join(" and "), case.dtype).into());
        }
        if *peer == Peer::Candle && (case.model.name != "sd-turbo" || case.rows != 1) {
            return Err("candle is built for one row of sd-turbo alone".into());
        }
        if *peer == Peer::Single && case.rows == 1 {
            return Err("a single row is no batch to compare with single rows: give --rows".into());
        }
        let step = if case.model.parts.contains(&Part::Unet) { 64 } else { 8 };
        if case.size == 0 || !case.size.is_multiple_of(step) {
            return Err(format!("size: got {}, expected a multiple of {step}", case.size).into());
        }
        Ok(())
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, against {}", self.case, self.peer)
    }
}

/// The figures that the project has set itself, with what they must and should be. A stream batch that takes at most as
/// long as its rows one by one has a ratio of 1.
const FIGURES: [(&str, Dtype, usize, Peer, Target); 7] = [
    ("sd-turbo", Dtype::Bf16, 1, Peer::Openvino, Target { must: 1.1, aim: 1.25 }),
    ("sd-turbo", Dtype::Bf16, 1, Peer::Torch, Target { must: 2.1, aim: 2.4 }),
    ("sd-turbo", Dtype::F32, 1, Peer::Openvino, Target { must: 1.1, aim: 1.25 }),
    ("sdxl-turbo", Dtype::Bf16, 1, Peer::Openvino, Target { must: 1.1, aim: 1.25 }),
    ("bk-sdm-tiny", Dtype::Int8, 1, Peer::Openvino, Target { must: 1.0, aim: 1.2 }),
    ("taesd", Dtype::Bf16, 1, Peer::Openvino, Target { must: 1.1, aim: 1.4 }),
    ("sd-turbo", Dtype::Bf16, 3, Peer::Single, Target { must: 1.0, aim: 1.0 / 0.9 }),
];

/// All of them, at 512x512.
///
/// # Errors
///
/// Where one names no model.
pub(crate) fn all(threads: NonZeroUsize) -> Result<Vec<Figure>> {
    let figure = |(model, dtype, rows, peer, target): (&str, _, _, _, _)| {
        let case = Case { model: model.parse()?, dtype, size: 512, rows, threads };
        Ok(Figure { case, peer, target: Some(target) })
    };
    FIGURES.into_iter().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_the_project_can_be_measured() {
        let figures = all(NonZeroUsize::MIN).unwrap();
        assert_eq!(figures.len(), FIGURES.len());
        for figure in figures {
            figure.check().unwrap();
            let target = figure.target.unwrap();
            assert!(target.must <= target.aim, "{figure}");
        }
    }

    #[test]
    fn what_a_peer_cannot_do_is_refused() {
        let refused = |model: &str, dtype, rows, size, peer| {
            let case = Case { model: model.parse().unwrap(), dtype, size, rows, threads: NonZeroUsize::MIN };
            Figure { case, peer, target: None }.check().unwrap_err().to_string()
        };
        let text = refused("sd-turbo", Dtype::Int8, 1, 512, Peer::Torch);
        assert_eq!(text, "torch computes in f32 and bf16 alone, not in int8");
        refused("sd-turbo", Dtype::Bf16, 1, 512, Peer::Onnxruntime);
        refused("demo", Dtype::F32, 1, 512, Peer::Candle);
        refused("demo", Dtype::F32, 1, 512, Peer::Single);
        assert_eq!(refused("taesd", Dtype::F32, 1, 100, Peer::Torch), "size: got 100, expected a multiple of 8");
    }
}
