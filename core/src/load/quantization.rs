//! Weights that are stored as bytes.

use super::weights::WeightFiles;
use crate::error::Result;
use crate::net::WeightSource;

/// A file with 8-bit weights: for `NAME.weight` there are `NAME.range`, the step between bytes and the value of byte 0,
/// and `NAME.factor`, the factor of each output channel. Other tensors are unchanged.
#[derive(Debug)]
pub(crate) struct QuantizedFile(pub(crate) WeightFiles);

impl WeightSource for QuantizedFile {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.0.shape(name)
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let Some(layer) = name.strip_suffix(".weight") else { return self.0.read(name, shape) };
        let bytes = self.0.read_bytes(name, shape)?;
        let range = self.0.read(&format!("{layer}.range"), &[2])?;
        let factors = self.0.read(&format!("{layer}.factor"), shape.get(..1).unwrap_or(&[]))?;
        let each = (bytes.len() / factors.len().max(1)).max(1);
        let (step, least) = (range.first().copied().unwrap_or(0.0), range.last().copied().unwrap_or(0.0));
        let rows = bytes.chunks(each).zip(factors);
        Ok(rows.flat_map(|(row, factor)| row.iter().map(move |&b| (f32::from(b) * step + least) * factor)).collect())
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn bytes_are_decoded_by_range_and_channel_factor() {
        let floats = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let (range, factor) = (floats(&[0.5, -1.0]), floats(&[1.0, 10.0]));
        let views = [
            ("a.weight", Dtype::U8, vec![2, 2], &[0_u8, 2, 4, 255][..]),
            ("a.range", Dtype::F32, vec![2], &range[..]),
            ("a.factor", Dtype::F32, vec![2], &factor[..]),
            ("b.weight", Dtype::F32, vec![2], &factor[..]),
        ]
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape, bytes).unwrap()));
        let file = safetensors::serialize(views, None).unwrap();
        let weights = QuantizedFile(WeightFiles::from_bytes("test", file).unwrap());
        assert_eq!(weights.read("a.weight", &[2, 2]).unwrap(), [-1.0, 0.0, 10.0, 1265.0]);
        assert_eq!(weights.read("a.range", &[2]).unwrap(), [0.5, -1.0]);
        for (name, shape, words) in [
            ("a.weight", &[4, 1][..], "[2, 2]"),
            ("b.weight", &[2][..], "expected U8"),
            ("c.weight", &[2][..], "missing"),
        ] {
            let refused = weights.read(name, shape).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::BadModel, "{refused}");
            assert!(refused.to_string().contains(words), "{refused}");
        }
    }
}
