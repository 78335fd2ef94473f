//! Files of an IP-Adapter and its image encoder: in the published repositories, or in a folder of their own.
//!
//! | repository | base model | adapter | image encoder |
//! |---|---|---|---|
//! | `h94/IP-Adapter` | Stable Diffusion 1.5 | `models/ip-adapter_sd15.safetensors` | `models/image_encoder` |
//! | `h94/IP-Adapter` | SDXL | `sdxl_models/ip-adapter_sdxl.safetensors` | `sdxl_models/image_encoder` |
//! | `h94/IP-Adapter-FaceID` | either | `ip-adapter-faceid_sd15.safetensors`, `ip-adapter-faceid_sdxl.safetensors` | none |
//!
//! The one of the demo model is built in: `demo-style`.
//! Any other folder has one `.safetensors` file, of any name and kind, and the folder `image_encoder`. Pickled files with
//! the same names (`ip-adapter_sd15.bin`) are used where there is no safetensors file.

use std::path::{Path, PathBuf};

use super::bytes::Bytes;
use super::component::Component;
use super::source::{ModelId, ModelSource};
use super::storage::Storage;
use super::weight_names::{existing, is_weights, preferred};
use super::weights::{WeightFiles, listed};
use crate::error::{Error, ErrorKind, Result};
use crate::families::ModelFamily;

/// The adapter to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdapterWanted {
    /// The family of the base model.
    pub family: ModelFamily,
    /// Whether it is for faces instead of images.
    pub face: bool,
}

impl AdapterWanted {
    /// Returns the adapters that are published in different files.
    pub(super) fn all() -> [Self; 4] {
        let of = |face: bool| [ModelFamily::Sd15, ModelFamily::Sdxl].map(|family| Self { family, face });
        let ([sd15, sdxl], [face_sd15, face_sdxl]) = (of(false), of(true));
        [sd15, sdxl, face_sd15, face_sdxl]
    }

    /// Returns the adapter whose published file `id` is, with any ending of weights.
    pub fn of_file(id: &str) -> Option<Self> {
        let stem = |path: &str| Path::new(path).with_extension("");
        let is = |wanted: &Self| stem(&format!("{}/{}", wanted.repository(), wanted.places().0)) == stem(id);
        Self::all().into_iter().find(|wanted| is_weights(Path::new(id)) && is(wanted))
    }

    /// Returns the id of its published file.
    pub fn file(self) -> String {
        format!("{}/{}", self.repository(), self.places().0)
    }

    /// Returns the id of its published image encoder; `None` if it has none.
    pub fn encoder(self) -> Option<String> {
        Some(format!("{}/{}", self.repository(), self.places().1?))
    }

    /// Returns the ids of all published image encoders.
    pub fn encoders() -> impl Iterator<Item = String> {
        Self::all().into_iter().filter_map(Self::encoder)
    }

    /// Returns the published repository that has it.
    pub(super) fn repository(self) -> &'static str {
        if self.face { "h94/IP-Adapter-FaceID" } else { "h94/IP-Adapter" }
    }

    /// Returns the id that downloads it: a folder, or a file without an image encoder.
    #[cfg(feature = "hub")]
    pub fn id(self) -> String {
        let (file, encoder) = self.places();
        let path = match encoder.and_then(|encoder| encoder.rsplit_once('/')) {
            Some((folder, _)) => folder,
            None => file,
        };
        format!("{}/{path}", self.repository())
    }

    /// Returns its file there, and the folder of its image encoder, if it has one.
    pub(super) fn places(self) -> (&'static str, Option<&'static str>) {
        match (self.face, self.family) {
            (false, ModelFamily::Sd15 | ModelFamily::Sd21) => {
                ("models/ip-adapter_sd15.safetensors", Some("models/image_encoder"))
            }
            (false, ModelFamily::Sdxl) => {
                ("sdxl_models/ip-adapter_sdxl.safetensors", Some("sdxl_models/image_encoder"))
            }
            (true, ModelFamily::Sd15 | ModelFamily::Sd21) => ("ip-adapter-faceid_sd15.safetensors", None),
            (true, ModelFamily::Sdxl) => ("ip-adapter-faceid_sdxl.safetensors", None),
        }
    }
}

/// The file of an adapter that is built in.
const BUILT_IN: &str = "ip-adapter.safetensors";
/// The folder of the image encoder in an explicit folder.
const ENCODER: &str = "image_encoder";

/// The files of an adapter; only their headers are read.
#[derive(Debug)]
pub struct AdapterFiles {
    /// The path of the adapter, for messages.
    pub path: String,
    /// Its tensors.
    pub weights: WeightFiles,
    /// The folder that must contain its image encoder, if it needs one.
    pub(crate) encoder: Storage,
}

impl AdapterFiles {
    /// Finds and opens the adapter `wanted` in the folder or file `id`, or in the published repository if there is no `id`.
    ///
    /// # Errors
    ///
    /// `NotFound` listing the searched locations, `BadModel` for a broken file, `Unsupported` for a pickled one with more
    /// than tensors, `InvalidArgument` for a folder with several adapters.
    pub fn find(source: &ModelSource, id: Option<&ModelId>, wanted: AdapterWanted) -> Result<Self> {
        if let Some(storage) = id.and_then(ModelId::built_in) {
            return Self::built_in(&storage);
        }
        let place = match id {
            Some(id) => source.file_or_folder(id)?,
            None => source.find(&wanted.repository().parse()?)?,
        };
        let (file, encoder) = wanted.places();
        let (path, encoder) = if place.is_file() {
            let encoder = place.with_file_name(ENCODER);
            (place, encoder)
        } else {
            match existing(&place.join(file)) {
                Some(path) => (path, place.join(encoder.unwrap_or(ENCODER))),
                None => (lone(&place, file)?, place.join(ENCODER)),
            }
        };
        let weights = WeightFiles::single(path.display().to_string(), Bytes::open(&path)?)?;
        Ok(Self { path: path.display().to_string(), weights, encoder: Storage::Folder(encoder) })
    }

    fn built_in(storage: &Storage) -> Result<Self> {
        let (path, encoder) = (storage.describe(BUILT_IN), storage.inside(ENCODER)?);
        Ok(Self { weights: WeightFiles::single(path.clone(), storage.open(BUILT_IN)?)?, path, encoder })
    }

    /// Opens the image encoder.
    ///
    /// # Errors
    ///
    /// Those of [`Component::folder`], naming the folder.
    pub fn image_encoder(&self) -> Result<Component> {
        Component::alone(&self.encoder).map_err(|error| error.within("image encoder of the IP-Adapter"))
    }
}

/// Returns the only adapter directly in `folder`; `file` is the name that was searched before.
fn lone(folder: &Path, file: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, "list", error))?;
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    let mut found = preferred(files);
    found.sort_unstable();
    match found.as_slice() {
        [path] => Ok(path.clone()),
        [] => {
            let text = format!("no IP-Adapter in {}: tried {file} and other files of weights", folder.display());
            Err(Error::new(ErrorKind::NotFound, text))
        }
        _ => {
            let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            let text = format!("adapter file: got several ({}), expected one, or one named {file}", listed(&names));
            Err(Error::new(ErrorKind::InvalidArgument, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SD15: AdapterWanted = AdapterWanted { family: ModelFamily::Sd15, face: false };

    /// A safetensors file without tensors.
    fn empty_file(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    }

    #[test]
    fn the_published_layout_is_found_and_the_type_chooses_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let source = ModelSource::folder(folder.path());
        let [general, faces] = ["h94/IP-Adapter", "h94/IP-Adapter-FaceID"].map(|name| folder.path().join(name));
        for (wanted, path, encoder) in [
            (SD15, general.join("models/ip-adapter_sd15.safetensors"), general.join("models/image_encoder")),
            (
                AdapterWanted { family: ModelFamily::Sdxl, ..SD15 },
                general.join("sdxl_models/ip-adapter_sdxl.safetensors"),
                general.join("sdxl_models/image_encoder"),
            ),
            (
                AdapterWanted { family: ModelFamily::Sdxl, face: true },
                faces.join("ip-adapter-faceid_sdxl.safetensors"),
                faces.join("image_encoder"),
            ),
        ] {
            assert_eq!(AdapterFiles::find(&source, None, wanted).unwrap_err().kind(), ErrorKind::NotFound);
            empty_file(&path);
            let found = AdapterFiles::find(&source, None, wanted).unwrap();
            assert_eq!((found.path, found.encoder), (path.display().to_string(), Storage::Folder(encoder)));
        }
    }

    #[test]
    fn a_folder_of_ones_own_has_one_adapter_of_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let source = ModelSource::folder(folder.path());
        let id: ModelId = "mine".parse().unwrap();
        let own = folder.path().join("mine");
        empty_file(&own.join("ip-adapter-plus.safetensors"));
        let found = AdapterFiles::find(&source, Some(&id), SD15).unwrap();
        let path = own.join("ip-adapter-plus.safetensors").display().to_string();
        assert_eq!((found.path, found.encoder), (path, Storage::Folder(own.join("image_encoder"))));
        assert_eq!(found.weights.names().count(), 0);
        empty_file(&own.join("another.safetensors"));
        let refused = AdapterFiles::find(&source, Some(&id), SD15).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        assert!(refused.to_string().contains("another.safetensors"), "{refused}");
    }

    #[test]
    fn a_named_file_is_found_with_another_ending_and_the_encoder_is_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let source = ModelSource::folder(folder.path());
        let models = folder.path().join("h94/IP-Adapter/models");
        let plus = models.join("ip-adapter-plus_sd15.safetensors");
        empty_file(&plus);
        empty_file(&models.join("ip-adapter_sd15.safetensors"));
        for name in ["ip-adapter-plus_sd15.safetensors", "ip-adapter-plus_sd15.bin", "ip-adapter-plus_sd15"] {
            let id: ModelId = format!("h94/IP-Adapter/models/{name}").parse().unwrap();
            let found = AdapterFiles::find(&source, Some(&id), SD15).unwrap();
            assert_eq!(found.path, plus.display().to_string(), "{name}");
            assert_eq!(found.encoder, Storage::Folder(models.join("image_encoder")), "{name}");
        }
        let missing: ModelId = "h94/IP-Adapter/models/other.bin".parse().unwrap();
        let refused = AdapterFiles::find(&source, Some(&missing), SD15).unwrap_err();
        assert!(refused.kind() == ErrorKind::NotFound && refused.to_string().contains("other.bin"), "{refused}");
    }

    #[test]
    fn published_files_are_known_by_any_ending() {
        for wanted in AdapterWanted::all() {
            assert_eq!(AdapterWanted::of_file(&wanted.file()), Some(wanted));
            assert_eq!(AdapterWanted::of_file(&wanted.file().replace("safetensors", "bin")), Some(wanted));
        }
        for other in ["h94/IP-Adapter/models/ip-adapter-plus_sd15.bin", "h94/IP-Adapter/models/ip-adapter_sd15", ""] {
            assert_eq!(AdapterWanted::of_file(other), None);
        }
    }

    #[test]
    fn pickled_adapters_are_found_and_safetensors_are_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let source = ModelSource::folder(folder.path());
        let pickled = super::super::pickle::toy_file();
        for (id, file) in [("h94/IP-Adapter", "models/ip-adapter_sd15.bin"), ("mine", "adapter.bin")] {
            let path = folder.path().join(id).join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, pickled).unwrap();
            let find = || AdapterFiles::find(&source, Some(&id.parse().unwrap()), SD15).unwrap();
            assert_eq!(find().path, path.display().to_string());
            assert!(find().weights.notice().unwrap().contains(file));
            let safe = path.with_extension("safetensors");
            empty_file(&safe);
            assert_eq!((find().path, find().weights.notice()), (safe.display().to_string(), None));
        }
    }
}
