//! The lifecycle of a stream: its session while it is in use, placeholder pictures until then, its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use dreamframe::transport::parameters::{ParameterError, ParameterMessage};
use dreamframe::{Error, Event};

use super::session_manager::Phase;
use super::stream::Stream;
use crate::error::ApiError;
use crate::ids;
use crate::scope::channel::parameters_updated;

impl Stream {
    /// Records an error of its pictures.
    pub(super) fn failed(&self, error: &str) {
        // It is visible to clients.
        let error = crate::paths::without_folders(error).into_owned();
        self.trouble().last_error = Some((error, ids::now_ms()));
    }

    /// Records an error of pushing to another server; `None` once it works again.
    pub(crate) fn push_failed(&self, error: Option<String>) {
        self.trouble().push_error = error.map(|error| (error, ids::now_ms()));
    }

    /// Reverts an update that the session has rejected, and notifies clients.
    pub(super) fn refused(&self, error: &Error) {
        let error = ApiError::from(error);
        tracing::warn!(stream = self.id, error = error.message(), "update refused");
        self.failed(error.message());
        self.notify(&ParameterMessage::Error(error.into()));
        let mut desired = self.desired();
        if let Some(session) = self.session() {
            desired.take_back(session.params());
            self.notify(&parameters_updated(desired.shown().params.clone()));
        }
    }

    /// Supervises the stream: to be called several times per second.
    pub(super) fn tick(self: &Arc<Self>, now: u64) {
        for event in self.session_manager.events() {
            self.note(event);
        }
        if let Some(error) = self.frames.take_refusal() {
            tracing::warn!(stream = self.id, error, "the publisher's video is refused");
            self.failed(&error);
            self.notify(&ParameterMessage::Error(ParameterError::new(error)));
        }
        let live = self.live();
        if self.was_live.swap(live, Ordering::Relaxed) && !live {
            tracing::info!(stream = self.id, "publisher disconnected");
            self.publishing.note_end();
        }
        self.outputs.follow(live, &self.push_url(), || {
            let stream = Arc::downgrade(self);
            Arc::new(move |error| {
                if let Some(stream) = stream.upgrade() {
                    stream.push_failed(error);
                }
            })
        });
        if self.in_use() {
            self.used_at.store(now, Ordering::Relaxed);
            self.serve_users(now);
        } else if self.session().is_some()
            && now.saturating_sub(self.used_at.load(Ordering::Relaxed)) > self.config.idle.as_millis() as u64
        {
            tracing::info!(stream = self.id, "the stream is idle: the session ends");
            self.release();
        }
        self.note_state(now);
    }

    fn serve_users(self: &Arc<Self>, now: u64) {
        match self.session_manager.phase() {
            // There was no free session before, or the parameters have changed since.
            Phase::Idle => drop(self.session_manager.start(self)),
            Phase::Failed(_) if !self.session_manager.has_failed_for(self.desired().for_engine()) => {
                drop(self.session_manager.start(self));
            }
            Phase::Failed(_) | Phase::Loading | Phase::Running => {}
        }
        let watched = self.egress.viewers() > 0 || self.whep.viewers() > 0;
        if watched && !self.frames.has_picture() {
            self.show_placeholder(now);
        }
    }

    fn show_placeholder(&self, now: u64) {
        let (width, height, wanted) = {
            let desired = self.desired();
            let params = desired.params();
            (params.width, params.height, params.show_reloading_frame)
        };
        let mut placeholder = self.placeholder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = placeholder.draw(width, height, now).filter(|_| wanted) {
            let stamp = dreamframe::Stamp { timestamp: dreamframe::transport::now(), ..Default::default() };
            self.egress.show(&view.with_stamp(stamp));
        }
    }

    fn note(self: &Arc<Self>, event: Event) {
        match event {
            Event::UpdateRejected { error, .. } => self.refused(&error),
            Event::FrameFailed { error, .. }
            | Event::TransitionFailed { error }
            | Event::Degraded { error }
            | Event::CallbackFailed { error } => self.failed(&error.to_string()),
            Event::Stopped { error: Some(error) } => {
                tracing::error!(stream = self.id, %error, "session ended; it is started again while it is needed");
                self.failed(&error.to_string());
                let mut trouble = self.trouble();
                trouble.restarts += 1;
                trouble.last_restart = Some(ids::now_ms());
                drop(trouble);
                self.release();
            }
            Event::UpdateApplied { .. }
            | Event::UpdateSuperseded { .. }
            | Event::Recovered
            | Event::Stopped { error: None }
            | _ => {}
        }
    }

    /// Releases the session; another thread waits for the current frame.
    fn release(&self) {
        self.frames.attach(None);
        self.frames.forget();
        if let Some(session) = self.session_manager.stop(false) {
            std::thread::spawn(move || drop(session));
        }
    }

    /// Ends the stream: connections, session, and outputs.
    pub(super) async fn close(&self, reason: Option<&str>) {
        self.notify(&ParameterMessage::StreamStopped { error_message: reason.map(str::to_owned) });
        self.frames.attach(None);
        let session = self.session_manager.stop(true);
        self.whip.close().await;
        self.whep.close().await;
        self.frames.forget();
        // Processing a frame may take a while.
        let _ = tokio::task::spawn_blocking(move || drop(session)).await;
    }
}
