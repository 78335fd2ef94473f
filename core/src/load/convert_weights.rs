//! Conversion of one file of weights, such as a pickled LoRA or ControlNet, to safetensors: tensor by tensor under a
//! temporary name, then renamed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

use super::bytes::Bytes;
use super::convert::{ConvertOptions, ConvertProgress, header, store, temporary_path};
use super::header::Dtype;
use super::rename::rename;
use super::weights::WeightFiles;
use crate::error::{Error, ErrorKind, Result};
use crate::net::WeightSource as _;

/// The component in reports of progress.
const COMPONENT: &str = "weights";

/// A tensor to be written.
struct Entry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    dtype: Dtype,
    len: u64,
}

/// Writes the tensors of the file `from`, pickled or safetensors, as the safetensors file `to`, with their names. Without
/// `options.dtype` the types and bytes are those of the file; with it, floating-point numbers are converted. `progress`
/// is called for every tensor; if it returns `Break`, the conversion ends and returns `Break`. The file appears when it
/// is complete.
///
/// # Errors
///
/// Those of opening `from`; `InvalidArgument` if `to` exists and is not to be replaced; `BadModel` for values out of the
/// range of the number format; `Io`.
pub fn convert_weights(
    from: &Path,
    to: &Path,
    options: ConvertOptions,
    progress: &mut dyn FnMut(ConvertProgress<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    if !options.replace && to.symlink_metadata().is_ok() {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("{} already exists", to.display())));
    }
    let weights = WeightFiles::single(from.display().to_string(), Bytes::open(from)?)?;
    let aside = temporary_path(to, "part")?;
    let flow = write(&weights, &aside, options, progress);
    if matches!(flow, Ok(ControlFlow::Continue(()))) {
        rename(&aside, to).map_err(|error| Error::io(to, "write", error))?;
    } else {
        // The first error is reported; what remains is hidden and has a temporary name.
        let _ = fs::remove_file(&aside);
    }
    flow
}

fn write(
    weights: &WeightFiles,
    path: &Path,
    options: ConvertOptions,
    progress: &mut dyn FnMut(ConvertProgress<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let failed = |error| Error::io(path, "write", error);
    let entries = entries(weights, options)?;
    let total = entries.iter().map(|entry| entry.len).sum();
    let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
    let fields = entries.iter().map(|entry| (entry.name, entry.shape.as_slice(), entry.dtype.name(), entry.len));
    file.write_all(&header(fields)).map_err(failed)?;
    let mut written = 0;
    for Entry { name, shape, dtype, .. } in &entries {
        let (own, _, bytes) = weights.read_stored(name)?;
        let bytes = match options.dtype.filter(|_| own != *dtype) {
            None => bytes,
            Some(dtype) => store(&weights.read(name, shape)?, dtype).ok_or_else(|| {
                let text = format!("tensor {name:?}: got values beyond the range of f16, expected at most 65504");
                Error::new(ErrorKind::BadModel, text)
            })?,
        };
        file.write_all(&bytes).map_err(failed)?;
        written += bytes.len() as u64;
        if progress(ConvertProgress { component: COMPONENT, bytes: written, total }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(ControlFlow::Continue(()))
}

/// Returns the tensors that are written, by name.
fn entries(weights: &WeightFiles, options: ConvertOptions) -> Result<Vec<Entry<'_>>> {
    let mut names: Vec<&str> = weights.names().collect();
    names.sort_unstable();
    let entry = |name| {
        let (own, len) = weights.stored_dtype(name)?;
        let dtype = match (own, options.dtype) {
            (Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16, Some(dtype)) => dtype.into(),
            _ => own,
        };
        let len = len / own.bytes().max(1) * dtype.bytes();
        Ok(Entry { name, shape: weights.shape(name).unwrap_or_default(), dtype, len })
    };
    names.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::super::header::StoredDtype;
    use super::super::pickle::toy_file;
    use super::*;

    fn convert(from: &Path, to: &Path, options: ConvertOptions) -> Result<ControlFlow<()>> {
        convert_weights(from, to, options, &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn a_pickled_file_is_converted_to_the_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("toy.pt"), folder.path().join("toy.safetensors"));
        fs::write(&from, toy_file()).unwrap();
        assert!(convert(&from, &to, ConvertOptions::default()).unwrap().is_continue());
        let open = |path: &Path| WeightFiles::single(String::new(), Bytes::open(path).unwrap()).unwrap();
        let (pickled, safe) = (open(&from), open(&to));
        assert_eq!(pickled.names().count(), safe.names().count());
        for name in pickled.names() {
            assert_eq!(pickled.read_stored(name).unwrap(), safe.read_stored(name).unwrap(), "{name}");
        }
        let error = convert(&from, &to, ConvertOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let half = ConvertOptions::default().with_dtype(Some(StoredDtype::F16)).with_replace(true);
        assert!(convert(&from, &to, half).unwrap().is_continue());
        let dtype = |name: &str| open(&to).stored_dtype(name).unwrap().0;
        assert_eq!((dtype("float64"), dtype("int64")), (Dtype::F16, Dtype::Other("I64", 8)));
        assert_eq!(open(&to).read("scalar", &[]).unwrap(), [2.5]);
    }

    #[test]
    fn a_break_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("toy.pt"), folder.path().join("toy.safetensors"));
        fs::write(&from, toy_file()).unwrap();
        let flow = convert_weights(&from, &to, ConvertOptions::default(), &mut |_| ControlFlow::Break(()));
        assert!(flow.unwrap().is_break());
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
