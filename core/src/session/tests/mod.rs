//! Sessions with a frame processor that has no networks.

mod frames;
mod interpolation;
mod parts;
mod stress;
mod toy;
mod transitions;
mod updates;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::toy::{Script, Toy};
use super::event_log::End;
use super::event_log::Events;
use super::events::Event;
use super::options::FailedFrame;
use super::threads::Threads;
use super::updates::Ticket;
use crate::engine::Picture;
use crate::error::Result;
use crate::frame::{Frame, FrameId, PixelFormat};
use crate::params::{ParamsPatch, StreamDiffusionParams};

/// The timeout of every wait.
const LIMIT: Duration = Duration::from_secs(60);

/// A running toy.
struct Running {
    threads: Threads<Toy>,
    script: Arc<Script>,
}

fn start() -> Running {
    let (toy, script) = Toy::new();
    Running { threads: Threads::start(toy, FailedFrame::Repeat, |_, _| None).unwrap(), script }
}

impl Running {
    /// Returns a frame of one pixel.
    fn submit(&self, pixel: u8) -> Result<FrameId> {
        let frame = Frame::from_packed(PixelFormat::Rgba8, 1, 1, vec![pixel; 4]).unwrap();
        self.threads.endpoint.submit_frame(frame)
    }

    fn until<T>(&self, what: &str, ready: impl FnMut() -> Option<T>) -> T {
        let deadline = Some(Instant::now() + LIMIT);
        self.threads.endpoint.event_log.news.wait_until(deadline, ready).unwrap_or_else(|| panic!("waited for {what}"))
    }

    fn picture(&self) -> Picture {
        self.until("a picture", || self.threads.endpoint.outbox.take())
    }

    /// Returns the picture of a new frame.
    fn next_picture(&self) -> Picture {
        let id = self.submit(0).unwrap();
        self.until("the picture of a frame", || self.threads.endpoint.outbox.take().filter(|picture| picture.id == id))
    }

    fn update(&self, patch: &str) -> Result<Ticket> {
        let patch = ParamsPatch::from_json(patch)?;
        self.threads.queue.update(|desired| patch.merge(desired))
    }

    fn transition(&self, prompt: &str, num_steps: u32) -> Result<Ticket> {
        let target = serde_json::json!({"target_prompts": prompt, "num_steps": num_steps});
        self.threads.queue.transition(&serde_json::from_value(target).unwrap(), StreamDiffusionParams::validate)
    }

    fn end(&self, ticket: &Ticket) -> End {
        self.until("the end of an update", || self.threads.endpoint.event_log.end(ticket.version).unwrap())
    }

    /// Makes an update, and waits until it is applied.
    fn apply(&self, patch: &str) {
        assert_eq!(self.end(&self.update(patch).unwrap()), End::Applied, "{patch}");
    }

    fn events(&self) -> Events {
        Events { event_log: self.threads.endpoint.event_log.clone() }
    }

    fn event(&self, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        self.until("an event", || self.events().try_iter().find(|event| wanted(event)))
    }

    fn desired(&self) -> StreamDiffusionParams {
        (*self.threads.queue.desired().1).clone()
    }

    fn stop(self) -> StreamDiffusionParams {
        use super::engine_traits::FrameProcessor;
        self.threads.stop(LIMIT).unwrap().params().clone()
    }
}
