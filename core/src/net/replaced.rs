//! Weights in place of those of a base model, or in addition to them; and the contents of files that have such.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{LoraLayer, WeightSource, elements, same_layout};
use crate::error::{Error, ErrorKind, Result};

/// Changes of a network by a file, with the names of its layers and weights.
#[derive(Debug, Default)]
pub struct NetworkChanges {
    /// LoRAs.
    pub layers: Vec<LoraLayer>,
    /// Tensors in place of whole weights.
    pub tensors: BTreeMap<String, ChangedTensor>,
}

/// A tensor in place of a network's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedTensor {
    /// The tensor of this name in the file.
    One(String),
    /// The mixture of the tensor that belongs to the base model, and of the trained one.
    Twins(String, String),
}

impl ChangedTensor {
    /// Returns the names of its parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::One(name) => (name, None),
            Self::Twins(base, trained) => (base, Some(trained)),
        };
        std::iter::once(first).chain(second).map(String::as_str)
    }
}

/// A weight that is the sum of tensors of one shape, each times a factor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorSum {
    /// The shape of the weight, outermost dimension first.
    pub shape: Vec<usize>,
    /// The factor and the name of each tensor.
    pub parts: Vec<(f32, String)>,
}

/// Weights some of which are read from other tensors; the original weights are not modified.
pub(super) struct ReplacedWeights {
    base: Arc<dyn WeightSource>,
    tensors: Arc<dyn WeightSource>,
    /// By the names of the weights.
    sums: BTreeMap<String, TensorSum>,
}

impl ReplacedWeights {
    /// Reads the weights `sums` from `tensors`, and all others from `base`.
    pub(super) fn new(
        base: Arc<dyn WeightSource>,
        tensors: Arc<dyn WeightSource>,
        sums: BTreeMap<String, TensorSum>,
    ) -> Self {
        Self { base, tensors, sums }
    }

    /// Returns the names of the weights that differ from the base's.
    pub(super) fn changed(&self) -> BTreeSet<String> {
        self.sums.keys().cloned().collect()
    }
}

impl WeightSource for ReplacedWeights {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.sums.get(name).map_or_else(|| self.base.shape(name), |sum| Some(sum.shape.clone()))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(sum) = self.sums.get(name) else { return self.base.read(name, shape) };
        if !same_layout(&sum.shape, shape) {
            let text = format!("{name}: got the shape {:?}, expected {shape:?}", sum.shape);
            return Err(Error::new(ErrorKind::BadModel, text));
        }
        let mut weight = elements::zeros(shape.iter().product())?;
        for (factor, part) in &sum.parts {
            let tensor = self.tensors.read(part, shape)?;
            weight.iter_mut().zip(&tensor).for_each(|(sum, x)| *sum += factor * x);
        }
        Ok(weight)
    }
}

impl fmt::Debug for ReplacedWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplacedWeights").field("changed", &self.sums.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Weights;

    /// Weights of two elements, all of which are the number in their name.
    struct Numbers;

    impl WeightSource for Numbers {
        fn shape(&self, name: &str) -> Option<Vec<usize>> {
            name.parse::<f32>().ok().map(|_| vec![2])
        }

        fn read(&self, name: &str, _: &[usize]) -> Result<Vec<f32>> {
            let number = name.parse().map_err(|_| Error::new(ErrorKind::BadModel, format!("tensor {name:?}: missing")));
            Ok(vec![number?; 2])
        }
    }

    fn sum(parts: &[(f32, &str)]) -> TensorSum {
        let parts = parts.iter().map(|&(factor, name)| (factor, name.to_owned()));
        TensorSum { shape: vec![2], parts: parts.collect() }
    }

    #[test]
    fn a_replaced_weight_is_its_sum_and_others_share_the_base() {
        let base = Arc::new(Weights::new(Arc::new(Numbers)));
        let sums = BTreeMap::from([("1".to_owned(), sum(&[(0.25, "8"), (0.75, "4")])), ("new".to_owned(), sum(&[]))]);
        let replaced = Weights::replaced(&base, Arc::new(Numbers), sums);
        let read = |name: &str| replaced.source().read(name, &[2]).unwrap();
        assert_eq!((read("1"), read("2"), read("new")), (vec![5.0; 2], vec![2.0; 2], vec![0.0; 2]));
        assert!(Arc::ptr_eq(replaced.forms_of(&["2"]), base.forms_of(&["2"])));
        assert!(!Arc::ptr_eq(replaced.forms_of(&["1", "2"]), base.forms_of(&["1", "2"])));
        assert!(Arc::ptr_eq(&Weights::replaced(&base, Arc::new(Numbers), BTreeMap::new()), &base));
    }

    #[test]
    fn a_sum_of_another_shape_or_of_a_missing_tensor_is_refused() {
        let base = Arc::new(Weights::new(Arc::new(Numbers)));
        let sums = BTreeMap::from([("1".to_owned(), sum(&[(1.0, "lost")]))]);
        let replaced = Weights::replaced(&base, Arc::new(Numbers), sums);
        let error = |shape: &[usize]| replaced.source().read("1", shape).unwrap_err().to_string();
        assert_eq!(error(&[3]), "1: got the shape [2], expected [3]");
        assert!(error(&[2]).contains("lost"));
    }
}
