//! Metrics for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::app::{App, Counters};
use crate::auth::Caller;
use crate::streams::Stream;

/// `GET /metrics`, in the Prometheus text format. Any key gives access: the metrics contain the ids of all streams.
pub(crate) async fn metrics(State(app): State<Arc<App>>, _: Caller) -> Response {
    (HEADERS, text(&app)).into_response()
}

/// The headers of this format.
pub(crate) const HEADERS: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// Writes the header of a metric.
pub(crate) fn figure(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a `String` cannot fail, here and below.
    let _ = writeln!(out, "# HELP dreamframe_{name} {help}.\n# TYPE dreamframe_{name} {kind}");
}

/// Writes the number of responses by class.
pub(crate) fn answers(out: &mut String, counters: &Counters) {
    figure(out, "http_responses_total", "counter", "Responses by the class of their status");
    for (class, count) in counters.answers() {
        let _ = writeln!(out, "dreamframe_http_responses_total{{class=\"{class}\"}} {count}");
    }
}

/// A metric of a stream: name, kind, description, value.
type Figure = (&'static str, &'static str, &'static str, fn(&Stream) -> f64);

const FIGURES: &[Figure] = &[
    ("frames_in_total", "counter", "Frames received", |stream| stream.frames_in() as f64),
    ("pictures_total", "counter", "New pictures", |stream| stream.pictures_out()[0] as f64),
    ("pictures_repeated_total", "counter", "Pictures that were shown again", |stream| stream.pictures_out()[1] as f64),
    ("pictures_flagged_total", "counter", "Pictures that the safety checker replaced", |stream| {
        stream.pictures_out()[2] as f64
    }),
    ("input_fps", "gauge", "Frames received per second", |stream| stream.rates().0),
    ("output_fps", "gauge", "New pictures per second", |stream| stream.rates().1),
    ("viewers", "gauge", "Viewers", |stream| stream.whep().viewers() as f64),
    ("live", "gauge", "1 with a publisher, else 0", |stream| f64::from(u8::from(stream.live()))),
    ("packets_lost_total", "counter", "Packets of the publisher that were lost", |stream| {
        stream.ingest_stats().map_or(0.0, |stats| stats.lost as f64)
    }),
    ("frames_dropped_total", "counter", "Frames that newer ones replaced", |stream| {
        stream.session().map_or(0.0, |session| session.stats().dropped.total as f64)
    }),
    ("encode_milliseconds", "gauge", "Mean time of encoding a picture", |stream| stream.egress().stats().encode_ms),
];

fn text(app: &App) -> String {
    let mut out = String::new();
    answers(&mut out, &app.counters);
    for (name, help, value) in [
        ("streams", "Streams", app.streams.len()),
        ("streams_limit", "Largest number of streams", app.config.max_streams),
        ("sessions", "Streams with a session", app.streams.sessions()),
        ("sessions_limit", "Largest number of sessions", app.config.max_sessions),
    ] {
        figure(&mut out, name, "gauge", help);
        let _ = writeln!(out, "dreamframe_{name} {value}");
    }
    let streams = app.streams.all();
    for (name, kind, help, take) in FIGURES {
        figure(&mut out, &format!("stream_{name}"), kind, help);
        for stream in &streams {
            let _ = writeln!(out, "dreamframe_stream_{name}{{stream=\"{}\"}} {}", stream.id, take(stream));
        }
    }
    out
}
