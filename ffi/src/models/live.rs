//! Downloads with the core's client of the hub.

use std::ops::ControlFlow;
use std::path::Path;

use dreamframe::load::HubCache;
use dreamframe::load::hub::{Hub, HubOptions, Progress};
use dreamframe::{Error, ErrorKind, FetchedModel, Result, StreamDiffusionParams};
use serde_json::{Value, json};

use super::FetchOptions;
use crate::callback::Gate;
use crate::text;

/// Downloads the model `id`; returns its path.
pub(super) fn fetch(id: &str, options: &FetchOptions<'_>) -> Result<String> {
    let id = id.parse()?;
    let gate = Gate::default();
    text_of(&options.hub()?.fetch(&id, &mut |progress| options.report(&gate, &progress))?)
}

/// Downloads the models of parameters; returns the list of them.
pub(super) fn fetch_for(params: &str, options: &FetchOptions<'_>) -> Result<Value> {
    let (params, _) = StreamDiffusionParams::from_json(params)?;
    let gate = Gate::default();
    let models = options.hub()?.fetch_for(&params, &mut |progress| options.report(&gate, &progress))?;
    Ok(models.into_iter().map(described).collect())
}

fn described(model: FetchedModel) -> Value {
    let (path, error) = match model.result.and_then(|path| text_of(&path)) {
        Ok(path) => (Some(path), None),
        Err(error) => (None, Some(error)),
    };
    json!({
        "id": model.id.as_str(),
        "field": model.field,
        "path": path,
        "error": error,
        "optional": model.optional,
    })
}

/// # Errors
///
/// `Unsupported` for a path that is not UTF-8, as all texts of the interface are.
fn text_of(path: &Path) -> Result<String> {
    let text = || format!("path: got {}, expected UTF-8", path.display());
    path.to_str().map(str::to_owned).ok_or_else(|| Error::new(ErrorKind::Unsupported, text()))
}

impl FetchOptions<'_> {
    fn hub(&self) -> Result<Hub> {
        let mut options = match self.cache {
            Some(cache) => HubOptions::from_env_with_cache(HubCache::at(cache)),
            None => HubOptions::from_env()?,
        };
        if let Some(endpoint) = self.endpoint {
            options = options.with_endpoint(endpoint.to_owned());
        }
        if let Some(token) = self.token {
            options = options.with_token(Some(token.to_owned()));
        }
        if self.is_offline {
            options = options.with_offline(true);
        }
        Hub::new(options)
    }

    /// Reports progress to the host; any other value than 0 ends the download.
    fn report(&self, gate: &Gate, progress: &Progress<'_>) -> ControlFlow<()> {
        let Some(callback) = self.progress else { return ControlFlow::Continue(()) };
        let (model, file) = (text::c_string(progress.model.as_str()), text::c_string(progress.file));
        // SAFETY: the host's callback, with texts that outlive the call.
        let call =
            || unsafe { callback(self.user_data, model.as_ptr(), file.as_ptr(), progress.bytes, progress.total) };
        if gate.call(call) == Some(0) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
