//! Downloads of all models that parameters name, or that the engine prefers for them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::ip_adapter::{ENCODER, FILE};
use super::lora::lcm_lora;
use super::models::{Schedule, is_distilled};
use super::vae::tiny_id;
use crate::error::{ErrorKind, Result};
use crate::load::hub::{Hub, Progress};
use crate::load::{AdapterWanted, Checkpoint, ModelId, is_weights};
use crate::models::{ModelFamily, UnetConfig};
use crate::params::{IPAdapterConfig, IPAdapterType, ProcessorName, StreamDiffusionParams};
use crate::preprocess::{NetworkFiles, network_files};

/// A model that [`Hub::fetch_for`] downloaded, or could not download.
#[derive(Debug)]
#[non_exhaustive]
pub struct FetchedModel {
    /// The id: of a repository, or a path in one.
    pub id: ModelId,
    /// The use of the model, such as `model_id` or `controlnets[0].model_id`.
    pub field: String,
    /// Where its files are.
    pub result: Result<PathBuf>,
    /// Whether an engine can be built without it.
    pub optional: bool,
}

/// The properties of a base model that determine what else it needs.
struct Base {
    family: ModelFamily,
    is_distilled: bool,
}

impl Base {
    fn open(folder: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::folder(folder)?;
        let config = UnetConfig::from_json(&checkpoint.component("unet")?.config)?;
        let schedule = Schedule::from_json(&checkpoint.scheduler_config()?)?;
        Ok(Self {
            family: ModelFamily::of(&config),
            is_distilled: is_distilled(&schedule, &config, &checkpoint.location()),
        })
    }
}

impl Hub {
    /// Downloads what an engine with `params` uses: the base model, its tiny autoencoder, LoRAs, ControlNets (disabled
    /// ones, too), the IP-Adapter if it is enabled, the network that interpolates between pictures, and the networks of
    /// processors. A download that fails does not prevent the others; after one that `progress` ended, no other begins.
    ///
    /// ```no_run
    /// use std::ops::ControlFlow;
    ///
    /// use dreamframe::StreamDiffusionParams;
    /// use dreamframe::load::hub::{Hub, HubOptions};
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let hub = Hub::new(HubOptions::from_env()?)?;
    /// for model in hub.fetch_for(&StreamDiffusionParams::daydream(), &mut |_| ControlFlow::Continue(()))? {
    ///     println!("{}: {:?}", model.id, model.result);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for an id that is not one; `Cancelled` if `progress` ended a download. Other failures are in the results.
    pub fn fetch_for(
        &self,
        params: &StreamDiffusionParams,
        progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<FetchedModel>> {
        let mut all = Downloads { hub: self, progress, done: Vec::new() };
        let base = all.base(&params.model_id.parse()?)?;
        if let Some(base) = &base {
            all.companions(params, base)?;
        }
        for id in params.lora_dict.keys() {
            all.one("lora_dict", id, false)?;
        }
        for (index, net) in params.controlnets.iter().enumerate() {
            all.one(&format!("controlnets[{index}].model_id"), &net.model_id, false)?;
        }
        if let Some(id) = &params.interpolation.model_id {
            all.one("interpolation.model_id", id, false)?;
        }
        for (field, files) in processors(params) {
            all.first_of(&field, &files)?;
        }
        Ok(all.done)
    }
}

/// The downloads of one set of parameters.
struct Downloads<'a> {
    hub: &'a Hub,
    progress: &'a mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    done: Vec<FetchedModel>,
}

impl Downloads<'_> {
    /// Downloads the base model; `None` if it is the embedded one, or cannot be read.
    fn base(&mut self, id: &ModelId) -> Result<Option<Base>> {
        if id.is_demo() {
            return Ok(None);
        }
        let result = self.fetch(id)?;
        let base = result.as_ref().ok().map(|folder| Base::open(folder));
        let (base, result) = match base {
            Some(Err(error)) => (None, Err(error)),
            Some(Ok(base)) => (Some(base), result),
            None => (None, result),
        };
        self.done.push(FetchedModel { id: id.clone(), field: "model_id".into(), result, optional: false });
        Ok(base)
    }

    /// Downloads a model. The inner result is that of the download.
    ///
    /// # Errors
    ///
    /// `Cancelled`.
    fn fetch(&mut self, id: &ModelId) -> Result<Result<PathBuf>> {
        match self.hub.fetch(id, self.progress) {
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            result => Ok(result),
        }
    }

    /// Downloads what depends on the family of the base model.
    fn companions(&mut self, params: &StreamDiffusionParams, base: &Base) -> Result<()> {
        // img2img-turbo has skip connections in the model's own autoencoder.
        if params.img2img_turbo.weights.is_none() {
            self.one("vae", tiny_id(base.family), true)?;
        }
        if let Some(id) = lcm_lora(params, base.family, base.is_distilled) {
            self.one("lcm_lora_id", id, false)?;
        }
        if params.ip_adapter.enabled { self.adapter(&params.ip_adapter, base.family) } else { Ok(()) }
    }

    /// Downloads the IP-Adapter and its image encoder: those that the parameters name, or the published ones.
    fn adapter(&mut self, adapter: &IPAdapterConfig, family: ModelFamily) -> Result<()> {
        let is_face = adapter.kind == IPAdapterType::Faceid;
        let file = adapter.ip_adapter_model_path.as_deref();
        let file = file.filter(|file| !file.is_empty() && AdapterWanted::of_file(file).is_none());
        let Some(file) = file else {
            return self.one("ip_adapter", &AdapterWanted { family, face: is_face }.id(), false);
        };
        self.one(FILE, file, false)?;
        let in_same_folder = || Some(format!("{}/image_encoder", file.rsplit_once('/')?.0));
        match adapter.image_encoder_path.as_deref().filter(|encoder| !encoder.is_empty()) {
            _ if is_face => Ok(()),
            Some(encoder) => self.one(ENCODER, encoder, false),
            // A folder has its own.
            None if !is_weights(Path::new(file)) => Ok(()),
            None => in_same_folder().map_or(Ok(()), |encoder| self.one(ENCODER, &encoder, true)),
        }
    }

    fn one(&mut self, field: &str, id: &str, optional: bool) -> Result<()> {
        let id: ModelId = id.parse()?;
        if !id.is_built_in() && self.done.iter().all(|fetched| fetched.id != id) {
            let result = self.fetch(&id)?;
            self.done.push(FetchedModel { id, field: field.to_owned(), result, optional });
        }
        Ok(())
    }

    /// Downloads the first available one of the locations of a network.
    fn first_of(&mut self, field: &str, files: &NetworkFiles) -> Result<()> {
        let mut failed = None;
        for id in &files.ids {
            let id: ModelId = id.parse()?;
            if self.done.iter().any(|fetched| fetched.id == id && fetched.result.is_ok()) {
                return Ok(());
            }
            let result = self.fetch(&id)?;
            let is_found = result.is_ok();
            let fetched = FetchedModel { id, field: field.to_owned(), result, optional: files.optional };
            if is_found {
                self.done.push(fetched);
                return Ok(());
            }
            failed.get_or_insert(fetched);
        }
        self.done.extend(failed);
        Ok(())
    }
}

/// Returns the files of the networks that the processors of `params` run, by their fields.
fn processors(params: &StreamDiffusionParams) -> BTreeMap<String, NetworkFiles> {
    let controls = params.controlnets.iter().enumerate().filter_map(|(index, net)| {
        Some((format!("controlnets[{index}].preprocessor"), net.preprocessor?, &net.preprocessor_params))
    });
    let chains = params.chains().into_iter().flat_map(|(name, chain)| {
        let entries = chain.processors.iter().enumerate();
        entries.map(move |(index, entry)| (format!("{name}.processors[{index}]"), entry.kind, &entry.params))
    });
    let of = |(field, name, settings): (String, ProcessorName, _)| Some((field, network_files(name, settings)?));
    controls.chain(chains).filter_map(of).collect()
}
