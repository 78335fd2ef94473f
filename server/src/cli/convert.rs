//! `dreamframe models convert`: writes a single-file checkpoint as a diffusers folder, or a file of weights as safetensors.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::ValueEnum;
use dreamframe::load::{Checkpoint, ConvertOptions, ConvertProgress, StoredDtype, convert_weights};
use dreamframe::{family_name, verify_checkpoint};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::exit::{Failure, Result};
use super::interrupt::Interrupt;
use super::models;
use super::output::Output;

/// Writes a checkpoint in one .safetensors or pickled file (Stable Diffusion 1.x, 2.x, XL) as a diffusers folder, and checks
/// the result as `models verify` does; or one file of weights as a .safetensors file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "LoRAs, ControlNets and autoencoders are used as they are. Pickled files (.ckpt, .pt, .pth, .bin, .pkl) are read \
                        without executing anything in them: `convert lora.bin lora.safetensors` writes the same tensors \
                        as safetensors."
)]
pub(super) struct Args {
    /// The checkpoint, or any file of weights
    file: PathBuf,
    /// The diffusers folder to be, or a name that ends in .safetensors for one file with the same tensors
    folder: PathBuf,
    /// How numbers are stored [default: as they are in the file]
    #[arg(long, value_enum, value_name = "NAME")]
    dtype: Option<DtypeName>,
    /// Replace an existing diffusers folder or file
    #[arg(long)]
    force: bool,
    /// Print JSON lines instead of a bar and a table: events notice, progress (component, bytes, total), done (family,
    /// path), then one object a component; error
    #[arg(long)]
    pub(super) json: bool,
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum DtypeName {
    /// IEEE half
    F16,
    /// The upper half of a single
    Bf16,
    /// IEEE single
    F32,
}

impl From<DtypeName> for StoredDtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F16 => Self::F16,
            DtypeName::Bf16 => Self::Bf16,
            DtypeName::F32 => Self::F32,
        }
    }
}

/// What a conversion calls for every tensor.
type Progress<'a> = dyn FnMut(ConvertProgress<'_>) -> ControlFlow<()> + 'a;

pub(super) fn run(args: &Args) -> Result {
    let interrupt = Interrupt::listen()?;
    let options = ConvertOptions::default().with_dtype(args.dtype.map(StoredDtype::from)).with_replace(args.force);
    let mut output = Output::new();
    if args.folder.extension().is_some_and(|ending| ending == "safetensors") {
        follow(args, &interrupt, &mut output, |progress| convert_weights(&args.file, &args.folder, options, progress))?;
        let path = args.folder.display().to_string();
        return if args.json { output.line(&json!({"event": "done", "path": path})) } else { output.text(&path) };
    }
    let checkpoint = Checkpoint::folder(&args.file)?;
    // Errors of the family are reported before anything is written.
    for report in verify_checkpoint(&checkpoint) {
        if let Some(problem) = report.problem {
            return Err(Failure::from(problem.within(report.name).within(checkpoint.location())));
        }
    }
    if let Some(notice) = checkpoint.notice() {
        if args.json {
            output.line(&json!({"event": "notice", "text": notice}))?;
        } else {
            eprintln!("dreamframe: note: {notice}");
        }
    }
    follow(args, &interrupt, &mut output, |progress| checkpoint.convert(&args.folder, options, progress))?;
    finish(args, &mut output)
}

/// Runs a conversion, reports its progress, and ends it if the program is interrupted.
fn follow(
    args: &Args,
    interrupt: &Interrupt,
    output: &mut Output,
    convert: impl FnOnce(&mut Progress<'_>) -> dreamframe::Result<ControlFlow<()>>,
) -> Result {
    let bar = if args.json { ProgressBar::hidden() } else { bar() };
    let mut failure = None;
    let mut last = 0;
    let flow = convert(&mut |progress| {
        let reported = interrupt.check().and_then(|()| {
            bar.set_length(progress.total);
            bar.set_position(progress.bytes);
            if bar.message() != progress.component {
                bar.set_message(progress.component.to_owned());
            }
            if args.json { report_progress(output, &mut last, progress) } else { Ok(()) }
        });
        match reported {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    bar.finish_and_clear();
    if flow?.is_break() {
        return Err(failure.unwrap_or(Failure::Interrupted));
    }
    Ok(())
}

/// Reports the result, and whether it is complete.
fn finish(args: &Args, output: &mut Output) -> Result {
    let checkpoint = Checkpoint::folder(&args.folder)?;
    let family = family_name(&checkpoint)?;
    let path = checkpoint.location();
    if args.json {
        output.line(&json!({"event": "done", "family": family, "path": path}))?;
    } else {
        output.text(&format!("{path}: a diffusers folder of the family {family}"))?;
    }
    models::report(&checkpoint, args.json)
}

/// One event for each hundredth of the way.
fn report_progress(output: &mut Output, last: &mut u64, progress: ConvertProgress<'_>) -> Result {
    let ConvertProgress { component, bytes, total } = progress;
    let part = bytes.saturating_mul(100) / total.max(1);
    if part == *last {
        return Ok(());
    }
    *last = part;
    output.line(&json!({"event": "progress", "component": component, "bytes": bytes, "total": total}))
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let template = "{wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    // A template that does not parse would be a bug; the plain bar does as well.
    if let Ok(style) = ProgressStyle::with_template(template) { bar.with_style(style) } else { bar }
}
