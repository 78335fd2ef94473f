//! Conversion of a checkpoint in one file to a diffusers folder: written tensor by tensor under a temporary name, then
//! renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;

use dreamframe_kernels::numbers::{write_bf16, write_f16, write_f32};
use serde_json::{Map, Value, json};

use super::component::{Component, TokenizerFiles, WEIGHT_NAMES};
use super::header::StoredDtype;
use super::layout::Checkpoint;
use super::rename::rename;
use super::single::{SingleFile, is_unknown};
use super::weights::WeightFiles;
use crate::error::{Error, ErrorKind, Result};
use crate::net::WeightSource as _;
use crate::setters::setters;

/// The file that identifies a diffusers folder, which may be replaced.
const INDEX: &str = "model_index.json";

/// Options of [`Checkpoint::convert`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertOptions {
    /// The number format of the written weights; `None` for that of the file, at most single precision.
    pub dtype: Option<StoredDtype>,
    /// Whether an existing diffusers folder is replaced.
    pub replace: bool,
}

setters! {
    ConvertOptions:
    with_dtype, dtype: Option<StoredDtype>;
    with_replace, replace: bool;
}

/// The progress of [`Checkpoint::convert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvertProgress<'a> {
    /// The component being written.
    pub component: &'a str,
    /// Bytes of weights written.
    pub bytes: u64,
    /// Bytes of all weights together.
    pub total: u64,
}

impl Checkpoint {
    /// Writes a checkpoint in a single file as the diffusers folder `folder`: configs, weights, tokenizers, scheduler.
    /// One tensor is in memory at a time. `progress` is called for every tensor; if it returns `Break`, the conversion
    /// ends and returns `Break`. The folder appears when it is complete; a break or an error leaves no files.
    ///
    /// # Errors
    ///
    /// `Unsupported` unless the checkpoint is a single file; `InvalidArgument` if `folder` exists and is not to be
    /// replaced, or is not a diffusers folder; `BadModel` for weights that cannot be read, or are out of the range of
    /// the number format; `Io`.
    pub fn convert(
        &self,
        folder: &Path,
        options: ConvertOptions,
        progress: &mut dyn FnMut(ConvertProgress<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let Some(single) = self.single() else {
            let text = format!(
                "{} is not a checkpoint in a single file; only such checkpoints can be converted",
                self.location()
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        check_target(folder, options.replace)?;
        let mut aside = Aside::create(folder)?;
        let mut writer = Writer { dtype: options.dtype, bytes: 0, total: 0, progress };
        let components: Vec<(&String, Component)> =
            self.classes().keys().filter_map(|name| Some((name, single.component(name)?))).collect();
        for (_, component) in &components {
            writer.total += writer.layout(&component.weights)?.1;
        }
        for (name, component) in &components {
            let place = aside.folder(name)?;
            write_text(&place.join("config.json"), &component.config)?;
            let file = if component.class.starts_with("CLIP") { WEIGHT_NAMES[1] } else { WEIGHT_NAMES[0] };
            let path = place.join(format!("{file}.safetensors"));
            if writer.write(&path, name, &component.weights)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        write_rest(self, single, &aside)?;
        aside.commit(folder)?;
        Ok(ControlFlow::Continue(()))
    }
}

/// Writes everything except weights.
fn write_rest(checkpoint: &Checkpoint, single: &SingleFile, aside: &Aside) -> Result<()> {
    for name in ["tokenizer", "tokenizer_2"].into_iter().filter(|name| checkpoint.class(name).is_some()) {
        let place = aside.folder(name)?;
        let TokenizerFiles { json: _, vocab, merges, config, special_tokens } = single.tokenizer(name)?;
        for (file, text) in [
            ("vocab.json", vocab),
            ("merges.txt", merges),
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", special_tokens),
        ] {
            text.map(|text| write_text(&place.join(file), &text)).transpose()?;
        }
    }
    write_text(&aside.folder("scheduler")?.join("scheduler_config.json"), &single.scheduler_config())?;
    write_text(&aside.path.join(INDEX), &single.index())
}

/// Only a diffusers folder is replaced, and only on request.
fn check_target(folder: &Path, replace: bool) -> Result<()> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    let rule = match (replace, folder.join(INDEX).is_file()) {
        (true, true) => return Ok(()),
        (false, _) => "already exists",
        (true, false) => "is not a diffusers folder; only diffusers folders are replaced",
    };
    Err(Error::new(ErrorKind::InvalidArgument, format!("{} {rule}", folder.display())))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::io(path, "write", error))
}

/// A folder under a temporary name next to its final one; removed when it is dropped before [`commit`](Self::commit).
#[derive(Debug)]
struct Aside {
    path: PathBuf,
    whole: bool,
}

impl Aside {
    fn create(folder: &Path) -> Result<Self> {
        let path = temporary_path(folder, "part")?;
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::io(parent, "create", error))?;
        }
        fs::create_dir(&path).map_err(|error| Error::io(&path, "create", error))?;
        Ok(Self { path, whole: false })
    }

    /// Returns the folder of a component, and creates it if it does not exist.
    fn folder(&self, component: &str) -> Result<PathBuf> {
        let path = self.path.join(component);
        fs::create_dir_all(&path).map_err(|error| Error::io(&path, "create", error))?;
        Ok(path)
    }

    /// Renames the folder to its final name; an existing folder of that name is removed afterwards.
    fn commit(&mut self, folder: &Path) -> Result<()> {
        let failed = |error| Error::io(folder, "write", error);
        let old = temporary_path(folder, "old")?;
        let replaces = folder.exists();
        if replaces {
            rename(folder, &old).map_err(|error| in_the_way(folder, error))?;
        }
        if let Err(error) = rename(&self.path, folder) {
            if replaces {
                // The existing folder is restored; the first error is reported.
                let _ = rename(&old, folder);
            }
            return Err(failed(error));
        }
        self.whole = true;
        if replaces && let Err(error) = fs::remove_dir_all(&old) {
            // The new folder is complete. On Windows, another program may have a file of the old one open.
            tracing::warn!(%error, folder = %old.display(), "the replaced folder could not be removed");
        }
        Ok(())
    }
}

/// Returns the error for a folder that cannot get another name.
fn in_the_way(folder: &Path, error: io::Error) -> Error {
    if cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied {
        let text = format!("{}: failed to replace it: a program may have a file of it open", folder.display());
        return Error::new(ErrorKind::Io, text).with_source(error);
    }
    Error::io(folder, "replace", error)
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.whole {
            // The error cannot be reported; what remains is hidden and has a temporary name.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Returns a hidden name next to `folder` that no other process uses.
pub(super) fn temporary_path(folder: &Path, what: &str) -> Result<PathBuf> {
    let Some(name) = folder.file_name() else {
        let text = format!("new folder: got {}, expected a path that ends in a name", folder.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    };
    Ok(folder.with_file_name(format!(".{}.{}.{what}", name.to_string_lossy(), process::id())))
}

/// Writes weights, and counts them.
struct Writer<'a> {
    dtype: Option<StoredDtype>,
    bytes: u64,
    total: u64,
    progress: &'a mut dyn FnMut(ConvertProgress<'_>) -> ControlFlow<()>,
}

/// A tensor of a file to be written.
struct Entry<'a> {
    name: &'a str,
    shape: Vec<usize>,
    dtype: StoredDtype,
}

impl Writer<'_> {
    /// Returns the tensors that are written of `weights`, by name, and their bytes in all: those that a diffusers
    /// folder has.
    fn layout<'w>(&self, weights: &'w WeightFiles) -> Result<(Vec<Entry<'w>>, u64)> {
        let mut names: Vec<&str> = weights.names().filter(|name| !is_unknown(name)).collect();
        names.sort_unstable();
        let (mut entries, mut bytes) = (Vec::with_capacity(names.len()), 0);
        for name in names {
            let dtype = match self.dtype {
                Some(dtype) => dtype,
                None => weights.stored(name)?,
            };
            let shape = weights.shape(name).unwrap_or_default();
            bytes += shape.iter().product::<usize>() as u64 * dtype.bytes();
            entries.push(Entry { name, shape, dtype });
        }
        Ok((entries, bytes))
    }

    /// Writes `weights` into the new file `path`.
    fn write(&mut self, path: &Path, component: &str, weights: &WeightFiles) -> Result<ControlFlow<()>> {
        let failed = |error| Error::io(path, "write", error);
        let (entries, _) = self.layout(weights)?;
        let mut file = BufWriter::new(File::create_new(path).map_err(failed)?);
        let fields = entries.iter().map(|Entry { name, shape, dtype }| {
            (*name, shape.as_slice(), dtype.name(), shape.iter().product::<usize>() as u64 * dtype.bytes())
        });
        file.write_all(&header(fields)).map_err(failed)?;
        for Entry { name, shape, dtype } in entries {
            let numbers = weights.read(name, &shape)?;
            let stored = store(&numbers, dtype).ok_or_else(|| {
                let text = format!(
                    "{component}: tensor {name:?}: got values beyond the range of f16, expected at most 65504; store it \
                     as bf16 or f32"
                );
                Error::new(ErrorKind::BadModel, text)
            })?;
            file.write_all(&stored).map_err(failed)?;
            self.bytes += stored.len() as u64;
            if (self.progress)(ConvertProgress { component, bytes: self.bytes, total: self.total }).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(ControlFlow::Continue(()))
    }
}

/// Returns the header of a file with these tensors, each with its name, shape, type and length in bytes, and the header's
/// length before it.
pub(super) fn header<'a>(entries: impl Iterator<Item = (&'a str, &'a [usize], &'static str, u64)>) -> Vec<u8> {
    // The metadata is required by the Python libraries.
    let mut fields = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut start = 0;
    for (name, shape, dtype, len) in entries {
        let end = start + len;
        fields.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
        start = end;
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    // Data starts at a multiple of eight.
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

/// Returns the bytes of `numbers`; `None` if one is too large for the type.
pub(super) fn store(numbers: &[f32], dtype: StoredDtype) -> Option<Vec<u8>> {
    match dtype {
        StoredDtype::F32 => Some(write_f32(numbers)),
        StoredDtype::Bf16 => write_bf16(numbers),
        StoredDtype::F16 => write_f16(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_a_types_range_are_detected() {
        assert!(store(&[65504.0], StoredDtype::F16).is_some());
        assert!(store(&[65536.0], StoredDtype::F16).is_none());
        assert_eq!(store(&[1.0, -2.0], StoredDtype::Bf16).unwrap(), [0x80, 0x3f, 0, 0xc0]);
        assert_eq!(store(&[1.0], StoredDtype::F32).unwrap(), 1.0_f32.to_le_bytes());
    }

    #[test]
    fn only_a_diffusers_folder_is_replaced_and_only_on_request() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        check_target(&target, false).unwrap();
        fs::create_dir(&target).unwrap();
        for replace in [false, true] {
            let error = check_target(&target, replace).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
        fs::write(target.join(INDEX), "{}").unwrap();
        assert!(check_target(&target, false).unwrap_err().to_string().contains("already exists"));
        check_target(&target, true).unwrap();
    }

    #[test]
    fn a_folder_aside_vanishes_unless_it_is_given_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model");
        for replaced in [false, true] {
            drop(Aside::create(&target).unwrap());
            assert_eq!(target.exists(), replaced);
            let mut aside = Aside::create(&target).unwrap();
            aside.folder("unet").unwrap();
            aside.commit(&target).unwrap();
            drop(aside);
            assert!(target.join("unet").is_dir());
            assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        }
        assert_eq!(temporary_path(Path::new("/"), "part").unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
