//! From the session's thread to the host: pictures as they are made, or with others between them at even intervals.
//!
//! Without interpolation the session's thread shows each picture itself. With it, two more threads are started: one
//! interpolates, and one shows pictures at the times that the [`pacer`] chooses, so that neither waits for the other, and
//! frames wait for none of them.

mod interpolating;
mod pacer;
mod picture;
mod presenter;
mod relay;
mod showing;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use self::interpolating::Worker;
use self::picture::{Arrival, Pictures};
pub(crate) use self::presenter::Callback;
use self::presenter::Presenter;
use super::endpoint::Endpoint;
use super::spawn::spawn;
use crate::engine::Picture;
use crate::error::Result;
use crate::interpolation::Rife;
use crate::params::InterpolationConfig;
// By these names in the model check, too.
use crate::sync::{latest_slot, notifier, primitives};

/// Where the session's thread sends its pictures.
pub(crate) struct Outlet {
    endpoint: Arc<Endpoint>,
    /// `None` while the thread that shows pictures has it.
    presenter: Option<Presenter>,
    /// Present since pictures were first interpolated.
    relay: Option<Arc<Pictures>>,
    threads: Vec<JoinHandle<()>>,
}

impl Outlet {
    /// Returns one that shows pictures on the calling thread.
    pub(crate) fn new(endpoint: Arc<Endpoint>, on_picture: Option<Callback>) -> Self {
        let presenter = Some(Presenter::new(endpoint.clone(), on_picture));
        Self { endpoint, presenter, relay: None, threads: Vec::new() }
    }

    /// Starts the threads that interpolation needs, if it is on and they do not run yet. Called between two frames; if
    /// the system cannot start them, pictures are shown as they are made.
    pub(crate) fn prepare(&mut self, interpolation: &InterpolationConfig) {
        if interpolation.factor > 1
            && self.relay.is_none()
            && let Err(error) = self.start()
        {
            tracing::error!(%error, "no pictures are interpolated");
        }
    }

    fn start(&mut self) -> Result<()> {
        let relay = Arc::new(Pictures::new());
        let (shown, endpoint) = (relay.clone(), self.endpoint.clone());
        let show = move || {
            // Only the first of the session gets here.
            let _ = endpoint.showing_thread.set(thread::current().id());
            showing::run(&shown, &endpoint);
        };
        let worker = Worker::new(relay.clone(), self.endpoint.clone());
        let interpolating = spawn("dreamframe-between", || worker.run())?;
        self.threads.push(interpolating);
        match spawn("dreamframe-output", show) {
            Ok(showing) => self.threads.push(showing),
            Err(error) => {
                relay.end();
                return Err(error);
            }
        }
        self.relay = Some(relay);
        Ok(())
    }

    /// Shows a picture: now, or between interpolated ones, which `network` makes if there is one.
    pub(crate) fn show(&mut self, picture: Picture, interpolation: &InterpolationConfig, network: Option<Arc<Rife>>) {
        let factor = interpolation.factor;
        let Some(relay) = self.relay.as_ref() else { return self.present(picture) };
        if factor > 1 {
            if let Some(presenter) = self.presenter.take() {
                relay.give(presenter);
            }
        } else if self.presenter.is_none() {
            self.presenter = relay.take_back();
        }
        if self.presenter.is_some() {
            return self.present(picture);
        }
        let at = Instant::now();
        let arrival = Arrival { picture, at, factor, scene_cut: interpolation.scene_cut, network };
        if relay.send(arrival).is_some() {
            self.endpoint.counters.unseen.mark(at);
        }
    }

    fn present(&mut self, picture: Picture) {
        if let Some(presenter) = &mut self.presenter {
            presenter.present(picture);
        }
    }

    /// Shows what is left without delay, and ends the threads.
    pub(crate) fn end(self) {
        let Some(relay) = self.relay else { return };
        relay.end();
        for thread in self.threads {
            // Neither panics; if one did, there is nothing left to show.
            let _ = thread.join();
        }
    }
}
