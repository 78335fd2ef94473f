//! The registry of processors.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::external::{External, ExternalImages};
use super::processors::{Runs, processor};
use super::upscale::enlarged;
use super::{Factory, Networks, Preprocessor};
use crate::error::{Error, ErrorKind, Result};
use crate::params::ProcessorName;

/// The available processors, by name: the host's own, otherwise the library's.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    own: BTreeMap<ProcessorName, Arc<dyn Factory>>,
    networks: Option<Arc<dyn Networks>>,
    /// The images of the host for `external`.
    external: Option<Arc<ExternalImages>>,
}

impl Registry {
    /// Creates a registry of the processors that need no weights.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the provider of the networks of processors with weights.
    #[must_use]
    pub fn with_networks(mut self, networks: Arc<dyn Networks>) -> Self {
        self.networks = Some(networks);
        self
    }

    /// Uses `networks` unless others were set.
    pub(crate) fn or_networks(mut self, networks: Arc<dyn Networks>) -> Self {
        self.networks.get_or_insert(networks);
        self
    }

    /// Gives `external` the images of an engine's host.
    pub(crate) fn with_external(mut self, images: Arc<ExternalImages>) -> Self {
        self.external = Some(images);
        self
    }

    /// Whether the library's `external` has no image for the ControlNet of this id, or for a chain.
    pub(crate) fn lacks_external(&self, controlnet: Option<&str>) -> bool {
        let own = self.own.contains_key(&ProcessorName::External);
        !own && self.external.as_ref().is_some_and(|images| !images.has_image(controlnet))
    }

    /// Returns the same registry with networks compiled for a stream of `size`, width and height.
    #[must_use]
    pub fn sized(&self, size: (usize, usize)) -> Self {
        let networks = self.networks.clone().map(|networks| networks.sized(size));
        Self { own: self.own.clone(), networks, external: self.external.clone() }
    }

    /// Registers a host's processor as `name`, replacing the library's.
    #[must_use]
    pub fn with(mut self, name: ProcessorName, factory: Arc<dyn Factory>) -> Self {
        self.own.insert(name, factory);
        self
    }

    /// Creates the recipe of the processor `name` with `settings`; omitted settings have their defaults. Slow if a
    /// network is loaded.
    ///
    /// ```
    /// use dreamframe::params::ProcessorName;
    /// use dreamframe::preprocess::{Context, Image, Registry};
    /// use serde_json::Map;
    ///
    /// # fn main() -> dreamframe::Result<()> {
    /// let recipe = Registry::new().recipe(ProcessorName::Canny, &Map::new())?;
    /// let mut processor = recipe.start();
    /// let grey = Image::from_pixels(8, 8, 3, vec![0.5; 8 * 8 * 3])?;
    /// let mut edges = Image::new();
    /// processor.run(&grey, &Context { previous: None, size: (8, 8) }, &mut edges)?;
    /// // A plain image has no edges.
    /// assert!(edges.same_size(&grey) && edges.pixels().iter().all(|&value| value == 0.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidParams` for invalid settings, `Unsupported` for a processor with weights if the registry has no
    /// networks, and errors of [`Networks::load`]; each names the processor.
    pub fn recipe(&self, name: ProcessorName, settings: &Map<String, Value>) -> Result<Recipe> {
        self.recipe_for(None, name, settings)
    }

    /// Like [`recipe`](Self::recipe), for the ControlNet of this id.
    pub(crate) fn recipe_for(
        &self,
        controlnet: Option<&str>,
        name: ProcessorName,
        settings: &Map<String, Value>,
    ) -> Result<Recipe> {
        name.check(settings)?;
        let start = match (self.own.get(&name), processor(name).runs) {
            (Some(own), _) => Start::Factory(own.clone()),
            (None, Runs::Native(start)) => Start::Native(start),
            (None, Runs::Network(_)) => {
                let networks = self.networks.as_ref().ok_or_else(|| {
                    let text =
                        format!("processor {:?} needs a network, which this registry does not load", name.name());
                    Error::new(ErrorKind::Unsupported, text)
                })?;
                let within = |error: Error| error.within(format_args!("processor {:?}", name.name()));
                Start::Factory(networks.load(name, settings).map_err(within)?)
            }
            (None, Runs::HostImage) => match &self.external {
                Some(images) => Start::Factory(images.factory(controlnet)),
                None => Start::Native(|settings| Box::new(External::new(settings))),
            },
        };
        Ok(Recipe { name, settings: settings.clone(), start })
    }
}

/// Creates a processor.
#[derive(Debug, Clone)]
enum Start {
    /// One of the library's own processors without weights.
    Native(fn(&Map<String, Value>) -> Box<dyn Preprocessor>),
    /// A loaded network, or a processor of the host's.
    Factory(Arc<dyn Factory>),
}

/// A processor with its settings and loaded networks: immutable, and cheap to clone.
#[derive(Debug, Clone)]
pub struct Recipe {
    name: ProcessorName,
    settings: Map<String, Value>,
    start: Start,
}

impl Recipe {
    /// Returns the name of the processor.
    pub fn name(&self) -> ProcessorName {
        self.name
    }

    /// Returns the settings, without defaults.
    pub fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// Starts a processor without state. Loads nothing.
    pub fn start(&self) -> Box<dyn Preprocessor> {
        match &self.start {
            Start::Factory(factory) => factory.start(&self.settings),
            Start::Native(start) => start(&self.settings),
        }
    }

    /// Returns the output size, width and height, in `image_postprocessing`, where a processor may change it.
    pub fn enlarged(&self, (width, height): (usize, usize)) -> (usize, usize) {
        processor(self.name).scale.map_or((width, height), |scale| enlarged((width, height), scale(&self.settings)))
    }

    /// Returns whether a processor that `other` started can continue as this one, with
    /// [`configure`](Preprocessor::configure).
    pub fn continues(&self, other: &Self) -> bool {
        self.name.plain() == other.name.plain()
            && match (&self.start, &other.start) {
                (Start::Factory(factory), Start::Factory(other)) => Arc::ptr_eq(factory, other),
                (Start::Native(_), Start::Native(_)) => true,
                (Start::Factory(_), Start::Native(_)) | (Start::Native(_), Start::Factory(_)) => false,
            }
    }
}

/// Equal recipes give equal images for equal frames.
impl PartialEq for Recipe {
    fn eq(&self, other: &Self) -> bool {
        self.continues(other) && self.settings == other.settings
    }
}

#[cfg(test)]
mod tests {
    use super::super::passthrough::Passthrough;
    use super::*;

    fn settings(name: &str, value: impl Into<Value>) -> Map<String, Value> {
        [(name.to_owned(), value.into())].into_iter().collect()
    }

    #[test]
    fn every_name_runs_or_is_rejected_by_name() {
        for &name in ProcessorName::ALL {
            match Registry::new().recipe(name, &Map::new()) {
                Ok(recipe) => assert!(!name.has_weights() && !format!("{:?}", recipe.start()).is_empty()),
                Err(error) => {
                    assert!(name.has_weights());
                    assert_eq!(error.kind(), ErrorKind::Unsupported);
                    assert!(error.to_string().contains(name.name()), "{error}");
                }
            }
        }
    }

    #[test]
    fn invalid_settings_are_rejected_by_name() {
        let refused = Registry::new().recipe(ProcessorName::Canny, &settings("low_threshold", 3000)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidParams);
        assert_eq!(refused.violations()[0].path, "canny.low_threshold");
        assert!(Registry::new().recipe(ProcessorName::Canny, &settings("unknown", 3000)).is_ok());
    }

    #[test]
    fn a_processor_continues_after_a_change_of_settings_only() {
        #[derive(Debug)]
        struct Own;
        impl Factory for Own {
            fn start(&self, _: &Map<String, Value>) -> Box<dyn Preprocessor> {
                Box::new(Passthrough)
            }
        }
        let own = Registry::new().with(ProcessorName::Hed, Arc::new(Own));
        let recipe = |registry: &Registry, name, settings| registry.recipe(name, &settings).unwrap();
        let hed = recipe(&own, ProcessorName::Hed, Map::new());
        assert!(hed.continues(&recipe(&own, ProcessorName::Hed, settings("safe", false))));
        assert!(hed != recipe(&own, ProcessorName::Hed, settings("safe", false)));
        assert!(hed == recipe(&own, ProcessorName::Hed, Map::new()));
        let other = Registry::new().with(ProcessorName::Hed, Arc::new(Own));
        assert!(!hed.continues(&recipe(&other, ProcessorName::Hed, Map::new())));
        let blur = recipe(&own, ProcessorName::Blur, Map::new());
        assert!(blur.continues(&recipe(&other, ProcessorName::Blur, settings("blur_intensity", 1.0))));
        assert!(!blur.continues(&recipe(&own, ProcessorName::Sharpen, Map::new())));
    }
}
