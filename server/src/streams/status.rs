//! JSON descriptions of a stream: the stream object, and its status with all the names by which clients read the same
//! value.

use std::sync::PoisonError;

use dreamframe::transport::now as clock;
use dreamframe::transport::peer::{AudioStats, PeerStats};
use serde_json::{Value, json};

use super::stream::{Stream, Trouble};
use crate::ids;
use crate::rtmp::PushedSound;
use crate::urls::Urls;
use crate::wire::Object;

/// Jitter in milliseconds, and loss in percent, above which a connection is bad.
const BAD_JITTER: f64 = 50.0;
const BAD_LOSS: f64 = 2.0;

impl Stream {
    /// The start of the current or last publisher.
    pub(super) fn began_at(&self) -> Option<u64> {
        self.publishing.latest_at()
    }

    /// The stream object for clients: exactly these keys, in this order, none of them null but `pipeline_id`.
    pub(crate) fn to_object(&self, urls: &Urls) -> Object {
        let desired = self.desired();
        let value = json!({
            "id": self.id,
            "name": desired.name,
            "whip_url": urls.whip(&self.key),
            "stream_key": self.key,
            "output_playback_id": self.playback_id,
            "output_stream_url": desired.output_rtmp_url,
            "gateway_host": urls.host(),
            "created_at": ids::iso(self.created_at),
            "author": self.author,
            "from_playground": false,
            "is_smoke_test": false,
            "pipeline": "streamdiffusion",
            "pipeline_id": desired.pipeline_id,
            "params": desired.echo(),
            "pipeline_params": desired.pipeline_params(&self.config.source),
            "status": self.word(),
            "playback_url": urls.playback(&self.playback_id),
        });
        value.as_object().cloned().unwrap_or_default()
    }

    /// The state as the stream object has it: in lower case, and `starting` until the first publisher.
    fn word(&self) -> String {
        match self.published_at() {
            (None, _) => "starting".to_owned(),
            (Some(_), _) => self.state().name().to_ascii_lowercase(),
        }
    }

    /// The body's `data` for clients other than the owner: nothing that gives access, or reveals the content.
    pub(crate) fn public_status(&self) -> Value {
        json!({
            "type": "status",
            "stream_id": self.id,
            "pipeline": "streamdiffusion",
            "state": self.state().name(),
            "timestamp": ids::now_ms(),
        })
    }

    /// The body's `data` for the stream's owner; without the stream key, since a status is often shared.
    pub(crate) fn status(&self, urls: &Urls) -> Value {
        let now = ids::now_ms();
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let state = self.state();
        let since = trouble.state.filter(|(known, _)| *known == state).map_or(now, |(_, since)| since);
        let started = self.session_manager().started_at().or(self.published_at().0).unwrap_or(self.created_at);
        let (shown, pipeline_id, updated_at) = {
            let desired = self.desired();
            (desired.shown().clone(), desired.pipeline_id.clone().unwrap_or_default(), desired.updated_at)
        };
        let frames = self.frames();
        let at = |ago: Option<u64>| ago.map(|ago| now.saturating_sub(ago));
        let (last_input, last_output) = (at(frames.input.since_last()), at(frames.shown.since_last()));
        let (input_fps, output_fps) = (rounded(frames.input.per_second()), rounded(frames.output.per_second()));
        let (last_error, last_error_time) = trouble.last_error.clone().unzip();
        let latency = frames.latency().map(|latency| rounded(latency.as_secs_f64() * 1000.0));
        let mut status = json!({
            "type": "status",
            "stream_id": self.id,
            "pipeline": "streamdiffusion",
            "pipeline_id": pipeline_id,
            "request_id": self.playback_id,
            "state": state.name(),
            "info": state.info(),
            "start_time": started,
            "timestamp": now,
            "last_state_update_time": since,
            "orchestrator_info": {"address": urls.host(), "url": urls.base()},
            "input_status": {"fps": input_fps, "last_input_time": last_input.unwrap_or(0)},
            "input_wanted": self.input_wanted(),
            "adaptation": self.adaptation(),
            "inference_status": {
                "pipeline": "streamdiffusion",
                "stream_id": self.id,
                "start_time": started,
                "fps": output_fps,
                "input_fps": input_fps,
                "output_fps": output_fps,
                "pictures": frames.output.total(),
                "repeated_pictures": frames.repeated.total(),
                "flagged_pictures": frames.flagged.total(),
                "interpolated_pictures": frames.interpolated.total(),
                "was_censored": frames.was_censored(),
                "latency_ms": latency,
                "loading_progress": self.loading_progress(),
                "last_input_time": last_input,
                "last_output_time": last_output,
                "last_params_hash": shown.hash,
                "last_params": shown.params,
                "last_params_update_time": updated_at,
                "restart_count": trouble.restarts,
                "last_restart_time": trouble.last_restart,
                "last_restart_logs": trouble.last_restart_logs,
                "last_error": last_error,
                "last_error_time": last_error_time,
            },
            "gateway_status": self.gateway(urls, &trouble, now),
        });
        add_flat_names(&mut status, self.word());
        status
    }

    /// Statistics of ingest and output; without the address for viewers until there was a publisher.
    fn gateway(&self, urls: &Urls, trouble: &Trouble, now: u64) -> Value {
        let error = trouble.push_error.as_ref();
        let mut gateway = json!({
            "error": error.map(|(text, at)| json!({"error_message": text, "error_time": at})),
            "pushed_audio": trouble.pushed_sound.map(pushed_audio),
            "ingest_metrics": {"stats": self.connection(now)},
        });
        if let (Some(_), Some(object)) = (self.published_at().0, gateway.as_object_mut()) {
            object.shift_insert(0, "whep_url".into(), urls.playback(&self.playback_id).into());
        }
        gateway
    }

    fn connection(&self, now: u64) -> Value {
        let peer = self.publisher().map(|peer| peer.stats()).unwrap_or_default();
        let tracks = self.tracks(peer.audio_in.as_ref());
        let bad = tracks.iter().any(|track| track.jitter_ms > BAD_JITTER || track.loss() > BAD_LOSS);
        let tracks: Vec<Value> = tracks.iter().map(|track| self.track(track, &peer, now)).collect();
        json!({
            "conn_quality": if bad { "bad" } else { "good" },
            "peer_conn_stats": {"ID": self.playback_id, "BytesReceived": peer.bytes_in, "BytesSent": peer.bytes_out},
            "track_stats": tracks,
        })
    }

    /// The tracks that a publisher sends. Video by RTMP has no packets: its encoded pictures are counted.
    fn tracks(&self, audio: Option<&AudioStats>) -> Vec<Track> {
        let frames = self.frames();
        let video = self.ingest_stats().map(|video| Track {
            name: "video",
            packets: if video.packets.total > 0 { video.packets.total } else { video.units },
            lost: video.lost,
            jitter_ms: video.jitter_ms,
            input_ago: frames.input.since_last(),
            output_ago: frames.shown.since_last(),
        });
        let audio = audio.map(|audio| {
            // It is forwarded as it arrives.
            let ago = u64::try_from(clock().since(audio.last_packet_at).as_millis()).ok();
            Track {
                name: "audio",
                packets: audio.packets,
                lost: audio.lost,
                jitter_ms: audio.jitter_ms,
                input_ago: ago,
                output_ago: ago,
            }
        });
        video.into_iter().chain(audio).collect()
    }

    fn track(&self, track: &Track, peer: &PeerStats, now: u64) -> Value {
        // Seconds on the stream's own clock, as in observed upstream responses.
        let seconds = |ago: Option<u64>| {
            let since = now.saturating_sub(self.created_at);
            ago.map_or(0.0, |ago| rounded(since.saturating_sub(ago) as f64 / 1000.0))
        };
        let (input, output) = (seconds(track.input_ago), seconds(track.output_ago));
        json!({
            "type": track.name,
            "jitter": rounded(track.jitter_ms),
            "packets_lost": track.lost,
            "packets_received": track.packets,
            "packet_loss_pct": rounded(track.loss()),
            "rtt": peer.round_trip.map_or(0.0, |time| rounded(time.as_secs_f64() * 1000.0)),
            "last_input_ts": input,
            "last_output_ts": output,
            "latency": rounded((input - output).max(0.0)),
            "warnings": [],
        })
    }
}

/// Describes the sound that the stream is pushed with, and why there is none.
fn pushed_audio(sound: PushedSound) -> Value {
    let (codec, reason) = match sound {
        PushedSound::Aac => ("aac", None),
        PushedSound::Opus => ("opus", None),
        PushedSound::Silence => ("silence", Some("the publisher sends no sound that can be pushed")),
        PushedSound::NotAccepted => ("silence", Some("the publisher sends Opus, which the service does not accept")),
    };
    json!({"codec": codec, "reason": reason})
}

/// How the packets of a publisher's track arrive.
#[derive(Debug)]
struct Track {
    name: &'static str,
    packets: u64,
    lost: u64,
    jitter_ms: f64,
    /// Milliseconds since the last frame or packet came, and since the last was sent on.
    input_ago: Option<u64>,
    output_ago: Option<u64>,
}

impl Track {
    /// The packets lost, in percent.
    fn loss(&self) -> f64 {
        let all = self.packets + self.lost;
        if all == 0 { 0.0 } else { self.lost as f64 * 100.0 / all as f64 }
    }
}

/// The values that clients also read from the top of the status, with their places.
const FLAT: [(&str, &str); 10] = [
    ("whep_url", "/gateway_status/whep_url"),
    ("playback_url", "/gateway_status/whep_url"),
    ("fps", "/inference_status/fps"),
    ("input_fps", "/inference_status/input_fps"),
    ("output_fps", "/inference_status/output_fps"),
    ("latency_ms", "/inference_status/latency_ms"),
    ("was_censored", "/inference_status/was_censored"),
    ("loading_progress", "/inference_status/loading_progress"),
    ("restart_count", "/inference_status/restart_count"),
    ("last_error", "/inference_status/last_error"),
];

/// Repeats values at the top of a status, for clients that read a flat one, and adds the state as the stream object has it.
fn add_flat_names(status: &mut Value, word: String) {
    let flat: Vec<_> = FLAT.iter().filter_map(|(name, place)| Some((*name, status.pointer(place)?.clone()))).collect();
    let Some(status) = status.as_object_mut() else { return };
    status.insert("status".into(), word.into());
    status.extend(flat.into_iter().map(|(name, value)| (name.to_owned(), value)));
}

/// Rounds to two decimal places.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
