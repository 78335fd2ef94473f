//! Goldens: checkpoints, inputs and outputs that the reference libraries wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dreamframe::exec::{Dtype, Executor};
use dreamframe::net::Weights;

use crate::Tensors;

/// A checkpoint folder, and the numbers that the reference libraries made with it; pictures and latents channels-last.
#[derive(Debug)]
pub struct Golden {
    folder: PathBuf,
    tensors: Tensors,
}

impl Golden {
    /// The tiny checkpoint of `family`.
    pub fn family(family: &str) -> Self {
        Self::folder(golden_folder().join(family))
    }

    /// The demo model.
    pub fn demo() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/dreamframe-tiny");
        Self { tensors: Tensors::open(golden_folder().join("demo/golden.safetensors")), folder }
    }

    /// The checkpoint in `folder`, with the numbers in its `golden.safetensors`.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { tensors: Tensors::open(folder.join("golden.safetensors")), folder }
    }

    /// The text of a component's `config.json`.
    ///
    /// # Panics
    ///
    /// Where it cannot be read.
    pub fn config(&self, component: &str) -> String {
        let path = self.folder.join(component).join("config.json");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A component's weights.
    pub fn weights(&self, component: &str) -> Weights {
        Weights::new(Arc::new(self.weight_tensors(component)))
    }

    /// The file of a component's weights.
    ///
    /// # Panics
    ///
    /// Where there is none.
    pub fn weight_tensors(&self, component: &str) -> Tensors {
        let folder = self.folder.join(component);
        let names = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
        let path = names.map(|name| folder.join(name)).into_iter().find(|path| path.exists());
        Tensors::open(path.unwrap_or_else(|| panic!("no weights in {}", folder.display())))
    }

    /// Further numbers, in the file `name` of the folder.
    pub fn beside(&self, name: &str) -> Tensors {
        Tensors::open(self.folder.join(name))
    }

    /// Whether there are numbers under `name`.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.has(name)
    }

    /// Whether there are numbers of `component`.
    pub fn has_component(&self, component: &str) -> bool {
        self.tensors.names().any(|name| name.split('.').next() == Some(component))
    }

    /// The numbers under `name`.
    pub fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensors.numbers(name)
    }

    /// The shape under `name`.
    pub fn shape(&self, name: &str) -> &[usize] {
        self.tensors.shape(name)
    }
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Checks what a network gave on `executor`: at most 1e-4 of the largest number apart, which is what `f32` leaves after
/// sums in another order. Where values are kept in bf16, at most 4e-2 by the mean square: torch's own bf16 is up to 3.8e-2
/// off on the same checkpoints, whose few channels average little out.
///
/// # Panics
///
/// Where it is further apart; as [`relative_error`].
#[track_caller]
pub fn assert_close(executor: &dyn Executor, what: &str, got: &[f32], expected: &[f32]) {
    let (error, bound) = if executor.dtype() == Dtype::F32 {
        (relative_error(got, expected), 1e-4)
    } else if executor.dtype() == Dtype::F16 {
        (mean_error(got, expected), 5e-3)
    } else {
        // That of torch in bf16 is 1.5e-2 to 7.5e-2, the most for `ssd-1b`.
        (mean_error(got, expected), 7e-2)
    };
    assert!(error <= bound, "{what}: error {error:e}");
}

/// The largest difference, relative to the largest number expected.
///
/// # Panics
///
/// Where the lengths differ, or a number is not finite.
pub fn relative_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().chain(expected).all(|number| number.is_finite()));
    let difference = got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max);
    difference / expected.iter().map(|number| number.abs()).fold(0.0, f32::max)
}

/// The root of the mean square of what `got` differs by from `expected`, over that of `expected` itself.
///
/// # Panics
///
/// Like [`relative_error`].
pub fn mean_error(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let squares = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x) * f64::from(x)).sum::<f64>();
    let apart = squares(&mut got.iter().zip(expected).map(|(got, expected)| got - expected));
    assert!(apart.is_finite());
    (apart / squares(&mut expected.iter().copied())).sqrt() as f32
}
