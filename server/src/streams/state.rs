//! The state of a stream, as one word.

use super::session_manager::Phase;
use super::stream::Stream;
use crate::ids;

/// Milliseconds without a frame after which the input is degraded, and after which it is offline.
const LATE: u64 = 2_000;
const GONE: u64 = 60_000;
/// Frames per second below which the input is degraded.
const SLOW_INPUT: f64 = 15.0;
/// Milliseconds for which an error, and a restart, affect the state.
const ERROR_COUNTS: u64 = 15_000;
const RESTART_COUNTS: u64 = 60_000;

/// The state of a stream, by the names of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    Offline,
    Loading,
    Online,
    DegradedInput,
    DegradedInference,
    Error,
}

impl StreamState {
    /// The name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Offline => "OFFLINE",
            Self::Loading => "LOADING",
            Self::Online => "ONLINE",
            Self::DegradedInput => "DEGRADED_INPUT",
            Self::DegradedInference => "DEGRADED_INFERENCE",
            Self::Error => "ERROR",
        }
    }

    /// A sentence for a person.
    pub(crate) fn info(self) -> &'static str {
        match self {
            Self::Offline => "There is no publisher",
            Self::Loading => "The model is being loaded",
            Self::Online => "Pictures are made",
            Self::DegradedInput => "Few frames are received",
            Self::DegradedInference => "Pictures are made more slowly than frames are received",
            Self::Error => "No pictures can be made: see inference_status.last_error",
        }
    }
}

/// The facts that determine the state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Signs {
    pub(crate) live: bool,
    pub(crate) phase: Phase,
    pub(crate) input_fps: f64,
    /// Pictures per second, with repeated and replaced ones: a still picture is no slow one.
    pub(crate) shown_fps: f64,
    /// Milliseconds since the last frame, or since the publisher connected if there was none.
    pub(crate) silent_for: u64,
    pub(crate) has_picture: bool,
    /// Milliseconds since the last error and the last restart.
    pub(crate) error_ago: Option<u64>,
    pub(crate) restart_ago: Option<u64>,
}

/// Determines the state.
pub(crate) fn determine(signs: &Signs) -> StreamState {
    let Signs { live, phase, input_fps, shown_fps, silent_for, has_picture, error_ago, restart_ago } = signs;
    if !live || *silent_for > GONE {
        return StreamState::Offline;
    }
    match phase {
        Phase::Failed(_) => return StreamState::Error,
        Phase::Idle | Phase::Loading => return StreamState::Loading,
        Phase::Running => {}
    }
    if *silent_for > LATE {
        return StreamState::DegradedInput;
    }
    if !has_picture {
        return StreamState::Loading;
    }
    if *input_fps < SLOW_INPUT {
        return StreamState::DegradedInput;
    }
    let slow = *shown_fps < (0.8 * input_fps).min(10.0);
    let within = |ago: &Option<u64>, most| ago.is_some_and(|ago| ago < most);
    if slow || within(error_ago, ERROR_COUNTS) || within(restart_ago, RESTART_COUNTS) {
        return StreamState::DegradedInference;
    }
    StreamState::Online
}

impl Stream {
    /// Returns the current state.
    pub(crate) fn state(&self) -> StreamState {
        let now = ids::now_ms();
        let ago = |at: Option<u64>| at.map(|at| now.saturating_sub(at));
        let (error_ago, restart_ago) = {
            let trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            (ago(trouble.last_error.as_ref().map(|(_, at)| *at)), ago(trouble.last_restart))
        };
        let frames = self.frames();
        let began = ago(self.began_at()).unwrap_or_default();
        determine(&Signs {
            live: self.live(),
            phase: self.session_manager().phase(),
            input_fps: frames.input.per_second(),
            shown_fps: frames.shown.per_second(),
            silent_for: frames.input.since_last().unwrap_or(u64::MAX).min(began),
            has_picture: frames.has_picture(),
            error_ago,
            restart_ago,
        })
    }

    /// Records the time of the last change of the state.
    pub(super) fn note_state(&self, now: u64) {
        let state = self.state();
        let mut trouble = self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if trouble.state.is_none_or(|(known, _)| known != state) {
            tracing::debug!(stream = self.id, state = state.name(), "state");
            trouble.state = Some((state, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(change: impl FnOnce(&mut Signs)) -> StreamState {
        let mut signs = Signs {
            live: true,
            phase: Phase::Running,
            input_fps: 30.0,
            shown_fps: 28.0,
            silent_for: 30,
            has_picture: true,
            error_ago: None,
            restart_ago: None,
        };
        change(&mut signs);
        determine(&signs)
    }

    /// Line 26 of the compatibility checklist, without the clock.
    #[test]
    fn the_state_follows_the_rules_of_the_contract() {
        assert_eq!(after(|_| {}), StreamState::Online);
        assert_eq!(after(|s| s.live = false), StreamState::Offline);
        assert_eq!(after(|s| s.silent_for = 60_001), StreamState::Offline);
        assert_eq!(after(|s| s.silent_for = 2_001), StreamState::DegradedInput);
        assert_eq!(after(|s| s.input_fps = 14.0), StreamState::DegradedInput);
        assert_eq!(after(|s| s.shown_fps = 9.0), StreamState::DegradedInference);
        assert_eq!(after(|s| (s.input_fps, s.shown_fps) = (16.0, 11.0)), StreamState::Online);
        assert_eq!(after(|s| s.error_ago = Some(14_000)), StreamState::DegradedInference);
        assert_eq!(after(|s| s.error_ago = Some(16_000)), StreamState::Online);
        assert_eq!(after(|s| s.restart_ago = Some(59_000)), StreamState::DegradedInference);
        assert_eq!(after(|s| s.phase = Phase::Loading), StreamState::Loading);
        assert_eq!(after(|s| s.has_picture = false), StreamState::Loading);
        assert_eq!(after(|s| s.phase = Phase::Failed("x".into())), StreamState::Error);
        assert_eq!(after(|s| (s.phase, s.live) = (Phase::Failed("x".into()), false)), StreamState::Offline);
    }
}
