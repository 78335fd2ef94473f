//! `dreamframe models fetch`: downloads models from the Hugging Face hub into its cache.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use dreamframe::load::ModelId;
use dreamframe::load::hub::{Hub, HubOptions, Progress};
use dreamframe::params::{NAMED_MODELS, named_model};
use dreamframe::{Error, ErrorKind, FetchedModel, StreamDiffusionParams};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::exit::{Failure, Result};
use super::options::read_params;
use super::output::Output;

/// Between two events of a download: often enough to follow it, seldom enough to read.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A repository: organisation/name. Of several models in one, name a file or folder: organisation/name/path. Or a
    /// short name, which stands for a model and all that suits it: sdxs, sd-turbo and others (docs/models.md)
    #[arg(required_unless_present_any = ["preset", "params"])]
    id: Vec<String>,
    /// Download all models of a preset: the base model, its tiny autoencoder, ControlNets and networks of processors
    #[arg(long, conflicts_with_all = ["id", "params"])]
    preset: Option<Preset>,
    /// Download all models that a JSON file of parameters names
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    params: Option<PathBuf>,
    /// Print JSON lines instead of a bar: events progress (model, file, bytes, total), done (model, path), failed (model,
    /// field, optional, message), error
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// The defaults of Daydream's service: SD-Turbo with five ControlNets
    Daydream,
}

impl Preset {
    fn params(self) -> StreamDiffusionParams {
        match self {
            Self::Daydream => StreamDiffusionParams::daydream(),
        }
    }
}

/// What a user named.
enum Wanted {
    /// A short name, which stands for all that its parameters need.
    Named(Box<StreamDiffusionParams>),
    Repository(ModelId),
}

impl Wanted {
    fn read(id: &str) -> Result<Self> {
        if named_model(id).is_some_and(|model| model.name == id) {
            return Ok(Self::Named(Box::new(StreamDiffusionParams::for_model(id)?)));
        }
        let repository: ModelId = id.parse()?;
        if !id.contains('/') {
            let names: Vec<&str> = NAMED_MODELS.iter().map(|model| model.name).collect();
            let text = format!("model: got {id:?}, expected organisation/name or one of {}", names.join(", "));
            return Err(Error::new(ErrorKind::InvalidArgument, text).into());
        }
        Ok(Self::Repository(repository))
    }

    fn fetch(&self, hub: &Hub, report: &mut Report) -> Result {
        match self {
            Self::Named(params) => {
                let models = hub.fetch_for(params, &mut |progress| report.progress(&progress));
                report.check_read()?;
                report.models(models?)
            }
            Self::Repository(id) => {
                let path = hub.fetch(id, &mut |progress| report.progress(&progress));
                report.check_read()?;
                report.done(id, &path?)
            }
        }
    }
}

/// Downloads the missing files, and prints the path of each model.
pub(super) fn run(args: &Args) -> Result {
    let params = match (args.preset, &args.params) {
        (Some(preset), _) => Some(preset.params()),
        (None, Some(file)) => Some(read_params(file, &StreamDiffusionParams::default())?.0),
        (None, None) => None,
    };
    let wanted = args.id.iter().map(|id| Wanted::read(id)).collect::<Result<Vec<_>>>()?;
    let hub = Hub::new(HubOptions::from_env()?)?;
    let mut report = Report::new(args.json);
    let fetched = match params {
        Some(params) => hub.fetch_for(&params, &mut |progress| report.progress(&progress)),
        None => {
            for wanted in wanted {
                wanted.fetch(&hub, &mut report)?;
            }
            return Ok(());
        }
    };
    report.check_read()?;
    report.models(fetched?)
}

/// What a person or a program sees of downloads.
struct Report {
    json: bool,
    bar: ProgressBar,
    output: Output,
    last: Option<Instant>,
    /// The failure of writing an event.
    unread: Result,
}

impl Report {
    fn new(json: bool) -> Self {
        let bar = if json { ProgressBar::hidden() } else { ProgressBar::no_length() };
        let template = "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
        // A template that does not parse would be a bug; the plain bar does as well.
        let bar = if let Ok(style) = ProgressStyle::with_template(template) { bar.with_style(style) } else { bar };
        Self { json, bar, output: Output::new(), last: None, unread: Ok(()) }
    }

    /// Shows progress; ends the download once nobody reads the events.
    fn progress(&mut self, &Progress { model, file, bytes, total }: &Progress<'_>) -> ControlFlow<()> {
        if !self.json {
            self.bar.set_length(total);
            self.bar.set_position(bytes);
            let message = format!("{model}: {file}");
            if self.bar.message() != message {
                self.bar.set_message(message);
            }
        } else if self.unread.is_ok() && (bytes == total || self.last.is_none_or(|last| last.elapsed() >= PAUSE)) {
            self.last = Some(Instant::now());
            let model = model.as_str();
            let event = json!({"event": "progress", "model": model, "file": file, "bytes": bytes, "total": total});
            self.unread = self.output.line(&event);
        }
        if self.unread.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Returns the failure of writing an event.
    fn check_read(&mut self) -> Result {
        std::mem::replace(&mut self.unread, Ok(()))
    }

    fn done(&mut self, id: &ModelId, path: &Path) -> Result {
        let path = path.display().to_string();
        if self.json {
            return self.output.line(&json!({"event": "done", "model": id.as_str(), "path": path}));
        }
        self.bar.reset();
        self.bar.finish_and_clear();
        self.output.text(&path)
    }

    /// Prints the result of each download.
    ///
    /// # Errors
    ///
    /// The first failure of a model that is not optional.
    fn models(&mut self, models: Vec<FetchedModel>) -> Result {
        let mut first = None;
        for model in models {
            match model.result {
                Ok(path) => self.done(&model.id, &path)?,
                Err(error) => {
                    self.failed(&model.id, &model.field, model.optional, &error)?;
                    if !model.optional {
                        first.get_or_insert(error.within(&model.field));
                    }
                }
            }
        }
        first.map_or(Ok(()), |error| Err(Failure::from(error)))
    }

    fn failed(&mut self, id: &ModelId, field: &str, optional: bool, error: &dreamframe::Error) -> Result {
        let message = format!("{error:#}");
        if self.json {
            let id = id.as_str();
            let event =
                json!({"event": "failed", "model": id, "field": field, "optional": optional, "message": message});
            return self.output.line(&event);
        }
        let optional = if optional { " (optional)" } else { "" };
        self.output.text(&format!("not fetched: {field}{optional}: {message}"))
    }
}
