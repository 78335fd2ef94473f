//! Loading of the network that interpolates between pictures.

use std::sync::Arc;

use super::cached::Cached;
use super::context::{BuildContext, pickled};
use super::keys::InterpolationKey;
use crate::error::{Error, Result, Violation};
use crate::interpolation::Rife;
use crate::load::{ModelId, ModelSource, WeightFiles};
use crate::net::Footprint;
use crate::params::Notice;

/// The network, if the parameters name one.
pub(super) type CachedInterpolation = Cached<Option<InterpolationKey>, Option<Arc<Rife>>>;

/// The parameter that names the network.
const MODEL: &str = "interpolation.model_id";
/// The file in a folder, and its name with other endings.
const FILE: &str = "flownet.safetensors";

/// Reads the file that `key` names, and compiles the network for the size of pictures.
///
/// # Errors
///
/// `NotFound`; `InvalidParams` for an invalid id; `BadModel` for a broken file or one of another network;
/// `OutOfMemory`.
pub(super) fn load(context: &BuildContext, key: &InterpolationKey, notices: &mut Vec<Notice>) -> Result<Arc<Rife>> {
    let id: ModelId = key.id.parse().map_err(|error: Error| {
        Error::invalid_params(vec![Violation { path: MODEL.into(), message: error.to_string() }])
    })?;
    let weights = find(&context.source, &id).map_err(|error| error.within(MODEL))?;
    notices.extend(pickled(&weights, MODEL));
    let network = Rife::new(Arc::new(weights), key.picture);
    Ok(Arc::new(network.map_err(|error| error.within(&key.id).within(MODEL))?))
}

fn find(source: &ModelSource, id: &ModelId) -> Result<WeightFiles> {
    source.file_or_weights(id, FILE)
}

/// Returns the memory that the network `id` needs for pictures of the width and height `picture`; reads no weights.
///
/// # Errors
///
/// `NotFound` for a missing file, `BadModel` for a broken one or one of another network.
pub(in crate::engine) fn footprint(source: &ModelSource, id: &ModelId, picture: (usize, usize)) -> Result<Footprint> {
    Rife::footprint(Arc::new(find(source, id)?), picture)
}
