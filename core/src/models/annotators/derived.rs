//! Weights that are derived from those in a file.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::net::{Program, WeightSource, elements};

/// What names start with where a network was saved as it was trained.
const TRAINED: &str = "module.";
/// The last part of the names of norms that are not learned.
const UNLEARNED: &str = "unlearned";

/// Computes a weight of the given shape from the tensors of a file.
type Rule = Box<dyn Fn(&dyn WeightSource, &[usize]) -> Result<Vec<f32>> + Send + Sync>;

/// Weights of a file, some of them in another form. A weight is derived when it is read.
pub struct Derived {
    base: Arc<dyn WeightSource>,
    rules: HashMap<String, Rule>,
}

impl Derived {
    /// Starts with the weights of `base` as they are.
    pub fn new(base: Arc<dyn WeightSource>) -> Self {
        Self { base, rules: HashMap::new() }
    }

    /// Adds the weight `name` with the value of `make`.
    pub fn rule(
        &mut self,
        name: impl Into<String>,
        make: impl Fn(&dyn WeightSource, &[usize]) -> Result<Vec<f32>> + Send + Sync + 'static,
    ) {
        self.rules.insert(name.into(), Box::new(make));
    }

    /// Renames the weight `other` of the file to `name`.
    pub fn rename(&mut self, name: impl Into<String>, other: impl Into<String>) {
        let other = other.into();
        self.rule(name, move |file, shape| file.read(&other, shape));
    }

    /// Returns what the norm after the convolution `name` is called in a program where its scale and shift are not
    /// learned.
    pub fn unlearned(name: &str) -> String {
        format!("{name}.{UNLEARNED}")
    }

    /// Scales by one and shifts by nothing in all such norms of `program`.
    pub fn unlearned_norms(&mut self, program: &Program) {
        for spec in program.weights() {
            for (end, number) in [("weight", 1.0), ("bias", 0.0)] {
                if spec.name.strip_suffix(end).is_some_and(|name| name.ends_with(&format!(".{UNLEARNED}."))) {
                    self.constant(&spec.name, number);
                }
            }
        }
    }

    /// Adds a weight `name` that is filled with one value.
    pub fn constant(&mut self, name: impl Into<String>, number: f32) {
        self.rule(name, move |_, shape| Ok(vec![number; shape.iter().product()]));
    }
}

impl WeightSource for Derived {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if self.rules.contains_key(name) { None } else { self.base.shape(name) }
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self.rules.get(name) {
            Some(make) => make(&*self.base, shape),
            None => self.base.read(name, shape),
        }
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

/// A transposed convolution whose step is the side of its kernel, as a linear layer before
/// [`depth_to_space`](crate::net::ProgramBuilder::depth_to_space): `[c_in, c_out, side, side]` becomes
/// `[side * side * c_out, c_in]`.
pub(super) fn unfolded(numbers: &[f32], [c_in, c_out, side]: [usize; 3]) -> Result<Vec<f32>> {
    let mut out = elements::zeros(numbers.len())?;
    for (i, &x) in numbers.iter().enumerate() {
        let (input, output, tap) = (i / (c_out * side * side), i / (side * side) % c_out, i % (side * side));
        out[(tap * c_out + output) * c_in + input] = x;
    }
    Ok(out)
}

/// Returns what the names in `file` start with: nothing, or what a network has that was saved as it was trained, if
/// `first` is a weight of it.
pub(super) fn trained_prefix(file: &dyn WeightSource, first: &str) -> &'static str {
    if file.shape(&format!("{TRAINED}{first}")).is_some() { TRAINED } else { "" }
}

/// Returns the shape of the weight `name`, which must have `N` dimensions, none of them 0.
///
/// # Errors
///
/// `BadModel` if there is no such weight.
pub(super) fn dimensions<const N: usize>(weights: &dyn WeightSource, name: &str) -> Result<[usize; N]> {
    let bad = |text: String| Error::new(ErrorKind::BadModel, text);
    let shape = weights.shape(name).ok_or_else(|| bad(format!("tensor {name:?}: missing")))?;
    match <[usize; N]>::try_from(shape.as_slice()) {
        Ok(shape) if !shape.contains(&0) => Ok(shape),
        _ => Err(bad(format!("tensor {name:?}: got shape {shape:?}, expected {N} dimensions of at least 1"))),
    }
}
