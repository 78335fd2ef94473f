//! A stream as its data channels see it: they do not keep it alive.

use std::sync::{Arc, Weak};

use dreamframe::Transition;
use dreamframe::params::StreamDiffusionParams;
use tokio::sync::broadcast;

use super::stream::Stream;
use crate::error::{ApiError, ApiResult};
use crate::scope::channel::Target;
use crate::wire::Object;
use crate::wire::request::Request;

/// A stream that may be gone.
#[derive(Debug)]
pub(super) struct Remote(pub(super) Weak<Stream>);

impl Remote {
    fn stream(&self) -> ApiResult<Arc<Stream>> {
        self.0.upgrade().ok_or_else(ApiError::no_stream)
    }
}

impl Target for Remote {
    fn params(&self) -> StreamDiffusionParams {
        self.stream().map(|stream| stream.params()).unwrap_or_default()
    }

    fn update(&self, values: Object) -> ApiResult<StreamDiffusionParams> {
        self.stream()?.update_values(values)
    }

    fn transition(&self, transition: &Transition) -> ApiResult<()> {
        self.stream()?.transition(transition)
    }

    fn set_paused(&self, paused: bool) {
        if let Ok(stream) = self.stream() {
            stream.set_paused(paused);
        }
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        match self.stream() {
            Ok(stream) => stream.subscribe_notices(),
            // Closed at once.
            Err(_) => broadcast::Sender::new(1).subscribe(),
        }
    }
}

impl Stream {
    /// Changes parameters by the rules of a client's body; what is in force then.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn update_values(&self, params: Object) -> ApiResult<StreamDiffusionParams> {
        self.apply(Request { params, ..Request::default() })?;
        Ok(self.params())
    }
}
