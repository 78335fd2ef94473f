//! The lifecycle of a stream: its session while it is in use, placeholder pictures until then, its end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dreamframe::transport::parameters::{ParameterError, ParameterMessage};
use dreamframe::{Error, Event};

use super::session_manager::Phase;
use super::stream::Stream;
use crate::error::ApiError;
use crate::ids;
use crate::paths::without_folders;
use crate::rtmp::PushedSound;
use crate::scope::channel::parameters_updated;

/// The longest time for a session to end; one that takes longer hangs, and is let go.
const ENDING: Duration = Duration::from_secs(4);
/// Milliseconds after which the same error is reported again.
const AGAIN: u64 = 10_000;

impl Stream {
    /// Records an event for the status, where clients see it.
    pub(super) fn record(&self, event: &str) {
        self.trouble().journal.record(&without_folders(event), ids::now_ms());
    }

    /// Records an error of its pictures.
    pub(super) fn failed(&self, error: &str) {
        // It is visible to clients.
        let (error, now) = (without_folders(error).into_owned(), ids::now_ms());
        let mut trouble = self.trouble();
        trouble.journal.record(&format!("error: {error}"), now);
        trouble.last_error = Some((error, now));
    }

    /// Records that no session could be built, and notifies clients.
    pub(super) fn load_failed(&self, error: &str) {
        self.failed(error);
        let error_message = Some(without_folders(error).into_owned());
        self.notify(&ParameterMessage::StreamStopped { error_message });
    }

    /// Records that the session ended with `error`, or hangs, and is started again.
    fn restarted(&self, error: &str) {
        self.failed(error);
        let mut trouble = self.trouble();
        trouble.restarts += 1;
        trouble.last_restart = Some(ids::now_ms());
        trouble.last_restart_logs = Some(trouble.journal.lines());
        drop(trouble);
        self.record("the session is started again");
    }

    /// Records an error of pushing to another server, or the sound that it gets once it works.
    pub(crate) fn pushed(&self, state: Result<PushedSound, String>) {
        let mut trouble = self.trouble();
        trouble.pushed_sound = state.as_ref().ok().copied();
        trouble.push_error = state.err().map(|error| (error, ids::now_ms()));
    }

    /// Reverts an update that the session has rejected, and notifies clients.
    pub(super) fn refused(&self, error: &Error) {
        let error = ApiError::from(error);
        tracing::warn!(stream = self.id, error = error.message(), "update refused");
        self.failed(error.message());
        self.notify(&ParameterMessage::UpdateFailed(error.into()));
        let mut desired = self.desired();
        if let Some(session) = self.session() {
            desired.take_back(session.params());
            self.save(&desired);
            self.notify(&parameters_updated(desired.shown().params.clone()));
        }
    }

    /// Lets the session go if its frame takes too long, so that another is started.
    fn check_frame_time(&self) {
        let Some(session) = self.session() else { return };
        let limit = self.config.frame_timeout;
        // While models are loaded, frames take longer.
        if session.frame_time().is_none_or(|time| time <= limit) || session.stats().waiting_loads > 0 {
            return;
        }
        let mut text = format!("a frame takes longer than {} s", limit.as_secs_f64());
        match self.session_manager.abandon(&self.id) {
            Ok(()) => {
                tracing::error!(stream = self.id, "{text}; the session is started again");
                self.frames.attach(None);
                self.frames.forget();
                self.restarted(&text);
                self.notify(&ParameterMessage::Error(ParameterError::new(text)));
            }
            Err(hanging) => {
                text.push_str(&format!("; {hanging} sessions hang already, so that no other is started"));
                let is_reported = |(error, at): &(String, u64)| *error == text && ids::now_ms() < at + AGAIN;
                if !self.trouble().last_error.as_ref().is_some_and(is_reported) {
                    tracing::error!(stream = self.id, "{text}");
                    self.failed(&text);
                }
            }
        }
    }

    /// Notifies clients of the progress of loading.
    fn notify_progress(&self) {
        let progress = self.session_manager.progress();
        let is_over = |session: dreamframe::SessionHandle| session.stats().waiting_loads == 0;
        if progress.percent().is_some() && self.session().is_some_and(is_over) {
            progress.end();
        }
        let now = progress.percent();
        let before =
            std::mem::replace(&mut *self.notified_progress.lock().unwrap_or_else(PoisonError::into_inner), now);
        let is_ready = self.session_manager.phase() == Phase::Running;
        let percent = if now.is_none() && before.is_some() && is_ready { Some(100) } else { now };
        if let Some(percent) = percent.filter(|_| now != before) {
            self.notify(&ParameterMessage::LoadingProgress { percent });
        }
    }

    /// Supervises the stream: to be called several times per second.
    pub(super) fn tick(self: &Arc<Self>, now: u64) {
        for event in self.session_manager.events() {
            self.note(event);
        }
        self.check_frame_time();
        self.notify_progress();
        if let Some(error) = self.frames.take_refusal() {
            tracing::warn!(stream = self.id, error, "the publisher's video is refused");
            self.failed(&error);
            self.notify(&ParameterMessage::Error(ParameterError::new(error)));
        }
        let live = self.live();
        if self.was_live.swap(live, Ordering::Relaxed) && !live {
            tracing::info!(stream = self.id, "publisher disconnected");
            self.record("publisher disconnected");
            self.publishing.note_end();
        }
        self.outputs.follow(live, &self.push_url(), || {
            let stream = Arc::downgrade(self);
            Arc::new(move |state| {
                if let Some(stream) = stream.upgrade() {
                    stream.pushed(state);
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
            self.record("the stream is idle: the session ends");
            self.release();
        }
        self.note_state(now);
    }

    fn serve_users(self: &Arc<Self>, now: u64) {
        match self.session_manager.phase() {
            // There was no free session before, or the parameters have changed since.
            Phase::Idle => drop(self.session_manager.start(self)),
            Phase::Failed(_) if !self.session_manager.has_failed_for(&self.params_to_load()) => {
                drop(self.session_manager.start(self));
            }
            Phase::Running => self.adapt(now),
            Phase::Failed(_) | Phase::Loading => {}
        }
        let watched = self.egress.viewers() > 0 || self.whep.viewers() > 0;
        if watched && !self.frames.has_picture() {
            self.show_placeholder(now);
        }
    }

    fn show_placeholder(&self, now: u64) {
        let (width, height, wanted) = {
            let desired = self.desired();
            let params = desired.for_engine();
            (params.width, params.height, params.show_reloading_frame)
        };
        let percent = self.session_manager.progress().percent();
        let mut placeholder = self.placeholder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = placeholder.draw(width, height, now, percent).filter(|_| wanted) {
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
                self.restarted(&error.to_string());
                self.release();
            }
            Event::Recovered => self.record("frames succeed again"),
            Event::UpdateApplied { .. } | Event::UpdateSuperseded { .. } | Event::Stopped { error: None } | _ => {}
        }
    }

    /// Releases the session; another thread waits for the current frame.
    fn release(self: &Arc<Self>) {
        self.frames.attach(None);
        self.frames.forget();
        if let Some(session) = self.session_manager.stop(false) {
            let stream = self.clone();
            std::thread::spawn(move || stream.session_manager.end(&stream.id, session, ENDING));
        }
    }

    /// Ends the stream: connections, session, and outputs.
    pub(super) async fn close(self: &Arc<Self>, reason: Option<&str>) {
        self.notify(&ParameterMessage::StreamStopped { error_message: reason.map(str::to_owned) });
        self.frames.attach(None);
        let session = self.session_manager.stop(true);
        self.whip.close().await;
        self.whep.close().await;
        self.frames.forget();
        let Some(session) = session else { return };
        let stream = self.clone();
        // Processing a frame may take a while.
        let _ = tokio::task::spawn_blocking(move || stream.session_manager.end(&stream.id, session, ENDING)).await;
    }
}
