//! Statistics of a session.

use std::ffi::c_char;
use std::mem::offset_of;

use dreamframe::Stats;

use crate::guard::guard;
use crate::handle;
use crate::pointer::{Out, OutStruct, Versioned};
use crate::session::dreamframe_session_t;
use crate::status::dreamframe_status_t;
use crate::text;

/// Statistics of a session. Initialize with `DREAMFRAME_STATS_INIT`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct dreamframe_stats_t {
    /// The size of this struct in bytes.
    pub struct_size: usize,
    /// Frames submitted.
    pub submitted: u64,
    /// Frames replaced by a newer one before they were processed.
    pub dropped: u64,
    /// Frames restyled.
    pub computed: u64,
    /// Frames skipped by the similar-image filter.
    pub skipped: u64,
    /// Frames passed through unchanged.
    pub passed: u64,
    /// Frames for which the last picture was repeated.
    pub repeated: u64,
    /// Frames that failed.
    pub failed: u64,
    /// Pictures replaced by a newer one before they were taken.
    pub unseen: u64,
    /// Pictures interpolated between two others.
    pub interpolated: u64,
    /// Events dropped because they were not taken in time.
    pub lost_events: u64,
    /// The version of the last accepted parameters.
    pub desired_version: u64,
    /// The version of the newest applied update.
    pub active_version: u64,
    /// Frames submitted per second.
    pub submitted_per_second: f64,
    /// Frames restyled per second.
    pub computed_per_second: f64,
    /// Median duration of the newest restyled frames, in microseconds; 0 before the first.
    pub frame_median_us: f64,
    /// 95th percentile of the same.
    pub frame_p95_us: f64,
    /// Frames waiting to be processed: 0 or 1.
    pub waiting_frames: u32,
    /// Updates that wait or are being prepared, without those that load something.
    pub waiting_updates: u32,
    /// Updates that load something, and wait or are being prepared.
    pub waiting_loads: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: `repr(C)`, starts with its size, and all its fields are integers and floats.
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
            interpolated: stats.interpolated.total,
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
/// - Threads: any thread, also concurrently.
/// - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
///
/// @param[in]  session    from `dreamframe_session_start()`
/// @param[out] out_stats  initialized with `DREAMFRAME_STATS_INIT`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dreamframe_session_stats(
    session: *mut dreamframe_session_t,
    out_stats: *mut dreamframe_stats_t,
) -> dreamframe_status_t {
    guard(|| {
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { OutStruct::required(out_stats) }?;
        out.set(&(&handle::get(session.cast_const())?.handle.stats()).into());
        Ok(())
    })
}

/// Returns statistics of a session as JSON, with all rates and the times of each stage.
///
/// - Threads: any thread, also concurrently.
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
        // SAFETY: guaranteed by the host, as documented in the header.
        let out = unsafe { Out::required(out_json, "out_json") }?;
        out.set(text::json_of(&handle::get(session.cast_const())?.handle.stats())?);
        Ok(())
    })
}
