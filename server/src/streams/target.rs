//! A stream as its data channels see it: they do not keep it alive.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use dreamframe::Transition;
use dreamframe::params::{Cost, StreamDiffusionParams, diff, total_cost};
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

    fn rebuild_wait(&self, values: &Object) -> Duration {
        self.stream().map(|stream| stream.rebuild_wait(values)).unwrap_or_default()
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

    /// For how long a change of `params` by a data channel has to wait: where it loads or rebuilds networks or fetches an
    /// image, there are so many a second for all channels of the stream.
    pub(crate) fn rebuild_wait(&self, params: &Object) -> Duration {
        let is_dear = {
            let desired = self.desired();
            let request = Request { params: params.clone(), ..Request::default() };
            // What is refused changes nothing.
            desired.change(&self.config, request).is_ok_and(|change| {
                let (old, new) = (desired.for_engine(), &change.engine);
                let fetches = old.ip_adapter_style_image_url != new.ip_adapter_style_image_url;
                fetches || total_cost(&diff(old, new)) >= Some(Cost::Load)
            })
        };
        if !is_dear {
            return Duration::ZERO;
        }
        let mut rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilds.take(Instant::now()).err().unwrap_or_default()
    }
}
