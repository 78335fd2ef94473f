//! `dreamframe models recommend`: what this machine can run, at what size and how many pictures per second.

use dreamframe::{MachineSpeed, Rates, Recommendation, recommend};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Result;
use super::options::Size;
use super::output::Output;
use super::progress::rounded;
use super::table::Table;

/// Steps of the progress bar.
const BAR: u64 = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads of the processor [default: all of the machine's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The size of the pictures: one side, or WIDTHxHEIGHT; several are separated by commas or in options of their own
    /// [default: 256, 384, 512 and 1024, from half of the size that a model was trained with]
    #[arg(long = "size", value_name = "SIZE", value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Print one JSON object a model and size, and one with the measured rates
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result {
    let speed = measure(args.threads.map(usize::from), args.json)?;
    let sizes: Vec<(u32, u32)> = args.sizes.iter().map(|size| (size.width, size.height)).collect();
    let found = recommend(&speed, &sizes)?;
    let mut out = Output::new();
    if !args.json {
        return out.text(&report(&found, &speed.rates()));
    }
    found.iter().try_for_each(|model| out.line(&json!(model)))?;
    out.line(&summary(&speed.rates()))
}

/// Measures the machine, and shows the progress on standard error.
fn measure(threads: Option<usize>, json: bool) -> Result<MachineSpeed> {
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(BAR) };
    // A template that does not parse would be a bug; the plain bar does as well.
    let style = ProgressStyle::with_template("measuring this machine  {wide_bar} {percent} %");
    let bar = if let Ok(style) = style { bar.with_style(style) } else { bar };
    if !json && bar.is_hidden() {
        eprintln!("dreamframe: measuring this machine for about a second");
    }
    let speed = MachineSpeed::measure(threads, &mut |part| bar.set_position((part * BAR as f64) as u64));
    bar.finish_and_clear();
    Ok(speed?)
}

fn summary(rates: &Rates) -> Value {
    let mut summary = json!(rates);
    summary["summary"] = true.into();
    summary
}

/// A line for each model and size, and what the figures are based on.
fn report(found: &[Recommendation], rates: &Rates) -> String {
    let heading = ["model", "size", "pictures/s", "memory MB", "fits", "download MB", "licence", "command"];
    let mut table = Table::new(&heading);
    for model in found {
        table.row([
            model.model.to_owned(),
            format!("{}x{}", model.width, model.height),
            pictures(model.pictures_per_second),
            (model.memory_bytes / 1_000_000).to_string(),
            model.fits.map_or("unknown", |fits| if fits { "yes" } else { "no" }).to_owned(),
            model.download_mb.map_or("unknown".to_owned(), |mb| mb.to_string()),
            model.licence.to_owned(),
            model.command.clone().unwrap_or_else(|| "(built in)".to_owned()),
        ]);
    }
    let Rates { threads, dtype, instructions, convolution_gflops, linear_gflops, .. } = rates;
    format!(
        "{table}\nEstimated for {threads} {}, {dtype} ({instructions}): convolutions {convolution_gflops:.0} and matrix \
         products {linear_gflops:.0} GFLOP/s.\nFirst what fits into the memory, then the most pictures per second; `dreamframe \
         bench` measures a model.\n",
        if *threads == 1 { "thread" } else { "threads" }
    )
}

/// Pictures per second with two significant digits at least.
fn pictures(rate: f64) -> String {
    if rate < 0.95 { rounded(rate).to_string() } else { format!("{rate:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_models_have_more_digits() {
        assert_eq!([35.04, 1.26, 0.8912, 0.0404].map(pictures), ["35.0", "1.3", "0.891", "0.04"]);
    }
}
