//! What a session has done so far, in numbers.

use std::ffi::c_char;
use std::mem::offset_of;

use dreamframe::Stats;

use crate::guard::guard;
use crate::handle;
use crate::pointer::{Out, OutStruct, Versioned};
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

/// What a session has done so far, and does now. Begin with `DREAMFRAME_STATS_INIT`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_stats_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Frames that came in.
    pub submitted: u64,
    /// Frames that a newer one replaced before they were worked on.
    pub dropped: u64,
    /// Frames that were restyled.
    pub computed: u64,
    /// Frames that the similar-image filter skipped.
    pub skipped: u64,
    /// Frames that went through unchanged.
    pub passed: u64,
    /// Frames for which the last picture was given again.
    pub repeated: u64,
    /// Frames that failed.
    pub failed: u64,
    /// Pictures replaced by a newer one before they were taken.
    pub unseen: u64,
    /// Events discarded because they were not taken in time.
    pub lost_events: u64,
    /// The version of the parameters last accepted.
    pub desired_version: u64,
    /// The newest version applied.
    pub active_version: u64,
    /// Frames that came in, in a second.
    pub submitted_per_second: f64,
    /// Frames that were restyled, in a second.
    pub computed_per_second: f64,
    /// Half of the newest restyled frames took at most this, in microseconds; 0 before the first.
    pub frame_median_us: f64,
    /// 95 of 100 took at most this.
    pub frame_p95_us: f64,
    /// Frames that wait: 0 or 1.
    pub waiting_frames: u32,
    /// Updates that wait or are made ready, without those that load something.
    pub waiting_updates: u32,
    /// Updates that load something, and wait or are made ready.
    pub waiting_loads: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, begins with its size, and all its fields are numbers.
unsafe impl Versioned for dreamframe_stats_t {
    const NAME: &'static str = "stats";
    const LEAST: usize = offset_of!(Self, reserved) + size_of::<u32>();
}

impl From<&Stats> for dreamframe_stats_t {
    fn from(stats: &Stats) -> Self {
        let frame = stats.stages.iter().find(|stage| stage.name == "frame").map(|stage| stage.micros);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            struct_size: size_of::<Self>(),
            submitted: stats.submitted.total,
            dropped: stats.dropped.total,
            computed: stats.computed.total,
            skipped: stats.skipped.total,
            passed: stats.passed.total,
            repeated: stats.repeated.total,
            failed: stats.failed.total,
            unseen: stats.unseen.total,
            lost_events: stats.lost_events,
            desired_version: stats.desired_version,
            active_version: stats.active_version,
            submitted_per_second: stats.submitted.per_second,
            computed_per_second: stats.computed.per_second,
            frame_median_us: frame.map_or(0.0, |frame| frame.median),
            frame_p95_us: frame.map_or(0.0, |frame| frame.p95),
            waiting_frames: count(stats.waiting_frames),
            waiting_updates: count(stats.waiting_updates),
            waiting_loads: count(stats.waiting_loads),
            reserved: 0,
        }
    }
}

/// Returns statistics of a session.
///
/// - Threads: any thread, also while other calls on this session run.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  session    from `dreamframe_session_start()`
/// @param[out] out_stats  begun with `DREAMFRAME_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_stats(
    session: *mut dreamframe_session_t,
    out_stats: *mut dreamframe_stats_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let out = unsafe { OutStruct::required(out_stats) }?;
        out.set(&(&handle::get(session.cast_const())?.handle.stats()).into());
        Ok(())
    })
}

/// Returns statistics of a session as JSON, with all rates and the times of each stage.
///
/// - Threads: any thread, also while other calls on this session run.
/// - Ownership: free the text with `dreamframe_string_free()`.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
///
/// @param[in]  session   from `dreamframe_session_start()`
/// @param[out] out_json  one object
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_stats_json(
    session: *mut dreamframe_session_t,
    out_json: *mut *mut c_char,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: the host's promise, as the header says.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        out.set(text::json_of(&handle::get(session.cast_const())?.handle.stats())?);
        Ok(())
    })
}
