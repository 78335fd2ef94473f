//! The target of the data channels of a stream, which do not keep it alive.

use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use dreamframe::Transition;
use dreamframe::params::{Cost, StreamDiffusionParams, diff, total_cost};
use tokio::sync::broadcast;

use super::stream::Stream;
use crate::error::{ApiError, ApiResult};
use crate::scope::channel::ControlledStream;
use crate::wire::Object;
use crate::wire::request::Request;

/// A weak reference to a stream.
#[derive(Debug)]
pub(super) struct Remote(pub(super) Weak<Stream>);

impl Remote {
    fn stream(&self) -> ApiResult<Arc<Stream>> {
        self.0.upgrade().ok_or_else(ApiError::no_stream)
    }
}

impl ControlledStream for Remote {
    fn params(&self) -> StreamDiffusionParams {
        self.stream().map(|stream| stream.params()).unwrap_or_default()
    }

    fn update(&self, values: Object) -> ApiResult<StreamDiffusionParams> {
        self.stream()?.update_values(values)
    }

    fn transition(&self, transition: &Transition) -> ApiResult<()> {
        self.stream()?.transition(transition)
    }

    fn rebuild_wait(&self, values: &Object, now: Instant) -> Duration {
        self.stream().map(|stream| stream.rebuild_wait(values, now)).unwrap_or_default()
    }

    fn set_paused(&self, paused: bool) {
        if let Ok(stream) = self.stream() {
            stream.set_paused(paused);
        }
    }

    fn notices(&self) -> broadcast::Receiver<String> {
        match self.stream() {
            Ok(stream) => stream.subscribe_notices(),
            // Closed immediately.
            Err(_) => broadcast::Sender::new(1).subscribe(),
        }
    }
}

impl Stream {
    /// Changes parameters by the rules of `PATCH /v1/streams/{id}`, and returns them.
    ///
    /// # Errors
    ///
    /// 400 with every value at fault.
    pub(crate) fn update_values(&self, params: Object) -> ApiResult<StreamDiffusionParams> {
        self.apply(Request { params, ..Request::default() })?;
        Ok(self.params())
    }

    /// Returns how long a change of `params` by a data channel must wait at `now`: changes that load or rebuild
    /// networks or fetch an image are limited for all channels of the stream together.
    pub(crate) fn rebuild_wait(&self, params: &Object, now: Instant) -> Duration {
        let is_expensive = {
            let desired = self.desired();
            let request = Request { params: params.clone(), ..Request::default() };
            // A rejected change has no effect.
            desired.change(&self.config, request).is_ok_and(|change| {
                let (old, new) = (desired.for_engine(), &change.engine);
                let fetches = old.ip_adapter_style_image_url != new.ip_adapter_style_image_url;
                let changes = self.session().map_or_else(|| diff(old, new), |session| session.diff(old, new));
                fetches || total_cost(&changes) >= Some(Cost::Load)
            })
        };
        if !is_expensive {
            return Duration::ZERO;
        }
        let mut rebuilds = self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilds.take(now).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::session_manager::Capacity;
    use super::*;
    use crate::auth::{Caller, ControlToken};
    use crate::config::Config;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn stream_rebuilds_are_limited_to_a_burst_of_four_and_two_per_second() {
        let config = Arc::new(Config::for_tests());
        let identity = crate::saved::Identity::new(&Caller::local(), &ControlToken::new());
        let stream = Stream::new(&config, &Capacity::new(1, None), identity, Request::default()).unwrap();
        let (width, start) = (stream.params().width, Instant::now());
        let wait =
            |params: &Value, ms| stream.rebuild_wait(params.as_object().unwrap(), start + Duration::from_millis(ms));
        // Changes without effect, cheap ones and rejected ones do not count.
        for params in [json!({"width": width}), json!({"delta": 0.25}), json!({"width": -1})] {
            assert!((0..20).all(|_| wait(&params, 0).is_zero()), "{params}");
        }
        let expensive = json!({"width": width + 64});
        assert!((0..4).all(|_| wait(&expensive, 0).is_zero()));
        assert!(
            !wait(&expensive, 499).is_zero() && wait(&expensive, 501).is_zero() && !wait(&expensive, 502).is_zero()
        );
    }
}
