//! `dreamframe models fetch`: downloads a model from the Hugging Face hub into its cache.

use std::time::{Duration, Instant};

use dreamframe::load::ModelId;
use dreamframe::load::hub::{Hub, HubOptions, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::exit::Result;
use super::output::Output;

/// Between two events of a download: often enough to follow it, seldom enough to read.
const PAUSE: Duration = Duration::from_millis(200);

/// Downloads the missing files of `id`, and prints the folder.
pub(super) fn run(id: &str, json: bool) -> Result {
    let id: ModelId = id.parse()?;
    let hub = Hub::new(HubOptions::from_env()?)?;
    let mut output = Output::new();
    let folder = if json { with_events(&hub, &id, &mut output)? } else { with_bar(&hub, &id)? };
    let folder = folder.display().to_string();
    if json { output.line(&json!({"event": "done", "path": folder})) } else { output.text(&folder) }
}

fn with_bar(hub: &Hub, id: &ModelId) -> Result<std::path::PathBuf> {
    let bar = ProgressBar::no_length();
    let template = "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    // A template that does not parse would be a bug; the plain bar does as well.
    let bar = if let Ok(style) = ProgressStyle::with_template(template) { bar.with_style(style) } else { bar };
    let folder = hub.fetch(id, &mut |Progress { file, bytes, total }| {
        bar.set_length(total);
        bar.set_position(bytes);
        if bar.message() != file {
            bar.set_message(file.to_owned());
        }
    });
    bar.finish_and_clear();
    Ok(folder?)
}

fn with_events(hub: &Hub, id: &ModelId, output: &mut Output) -> Result<std::path::PathBuf> {
    let mut last: Option<Instant> = None;
    let mut unread = Ok(());
    let folder = hub.fetch(id, &mut |Progress { file, bytes, total }| {
        if unread.is_ok() && (bytes == total || last.is_none_or(|last| last.elapsed() >= PAUSE)) {
            last = Some(Instant::now());
            unread = output.line(&json!({"event": "progress", "file": file, "bytes": bytes, "total": total}));
        }
    })?;
    unread.map(|()| folder)
}
