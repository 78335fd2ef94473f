//! The outputs of a stream besides WHEP: HLS, RTMP push, and the recording of the last seconds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dreamframe::transport::{Egress, Subscription, VideoCodec};
use dreamframe::{Error, ErrorKind, Result};

use crate::hls::Hls;
use crate::recording::Recorder;
use crate::rtmp::{Push, PushTo, Report, Target};
use crate::sound::{SoundHub, SoundSubscription};

/// The time for which the last seconds stay available after the publisher disconnected.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What outputs show of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) egress: Egress,
    pub(crate) sound: SoundHub,
}

/// The pictures and the sound of one output.
pub(crate) type Subscriptions = (Subscription, SoundSubscription);

impl Source {
    /// Subscribes to the pictures, as H.264, and to the sound.
    ///
    /// # Errors
    ///
    /// Those of [`Egress::subscribe`].
    pub(crate) fn subscribe(&self) -> Result<Subscriptions> {
        Ok((self.egress.subscribe(VideoCodec::H264)?, self.sound.subscribe(&self.egress)))
    }
}

/// The outputs of one stream. All end when it is dropped.
#[derive(Debug)]
pub(crate) struct Outputs {
    source: Source,
    push_to: Arc<PushTo>,
    hls: Hls,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // With the requested URL.
    push: Option<(String, Option<Push>)>,
    recorder: Option<Arc<Recorder>>,
    ended: Option<Instant>,
}

impl Outputs {
    /// Creates the outputs of a stream, which may be pushed to the addresses of `push_to`; none is started.
    pub(crate) fn new(source: Source, push_to: Arc<PushTo>) -> Self {
        Self { hls: Hls::new(source.clone()), source, push_to, state: Mutex::default() }
    }

    /// Returns what the outputs show.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the HLS output of the stream.
    pub(crate) fn hls(&self) -> &Hls {
        &self.hls
    }

    /// Starts and stops outputs with the publisher; to be called often. An empty `push_url` means no push; `report`
    /// gets the errors of pushing.
    pub(crate) fn follow(&self, live: bool, push_url: &str, report: impl FnOnce() -> Report) {
        let mut state = self.state();
        self.follow_push(&mut state, if live { push_url } else { "" }, report);
        match (live, &state.recorder) {
            (true, Some(recorder)) if recorder.is_running() => {}
            (true, _) => {
                state.ended = None;
                state.recorder = Recorder::last_seconds(&self.source)
                    .inspect_err(|error| tracing::debug!(%error, "the last seconds are not recorded"))
                    .ok()
                    .map(Arc::new);
            }
            (false, Some(recorder)) => {
                recorder.stop();
                if state.ended.get_or_insert_with(Instant::now).elapsed() > REMEMBERED {
                    state.recorder = None;
                }
            }
            (false, None) => {}
        }
    }

    fn follow_push(&self, state: &mut State, url: &str, report: impl FnOnce() -> Report) {
        if state.push.as_ref().map_or("", |(url, _)| url) == url {
            return;
        }
        // The previous push closes its connection in the background.
        state.push = None;
        if url.is_empty() {
            return;
        }
        let report = report();
        let push = match Target::parse(url) {
            Ok(target) => Some(Push::start(target, self.source.clone(), self.push_to.clone(), report)),
            Err(error) => {
                report(Err(error.to_string()));
                None
            }
        };
        state.push = Some((url.to_owned(), push));
    }

    /// Returns the last seconds as an MP4 file.
    ///
    /// # Errors
    ///
    /// `NotFound` without a recent publisher.
    pub(crate) async fn recording(&self, time: Duration) -> Result<Vec<u8>> {
        let recorder = self.state().recorder.clone();
        let nothing = || Error::new(ErrorKind::NotFound, "the stream has had no publisher recently");
        recorder.ok_or_else(nothing)?.movie(time).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use dreamframe::transport::{AudioHub, EgressOptions};

    use super::*;

    #[tokio::test]
    async fn pushes_go_to_public_addresses_only() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("rtmp://{}/live/key", listener.local_addr().unwrap());
        let source =
            Source { egress: Egress::new(EgressOptions::default()), sound: SoundHub::new(AudioHub::default()) };
        let outputs = Outputs::new(source, Arc::default());
        let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
        outputs.follow(true, &url, || Arc::new(move |state| report.send(state.err()).unwrap()));
        let refused = tokio::select! {
            reports = reports.recv() => reports.flatten().unwrap(),
            came = listener.accept() => panic!("a connection: {came:?}"),
        };
        assert!(refused.contains("--push-to"), "{refused}");
    }
}
