//! The options of the command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::Result;
use crate::case::{Case, Dtype, Model};
use crate::figure::{self, Figure, Peer};

/// Times our networks and other libraries' in turn; without a model, all figures that the project has set itself
#[derive(Debug, Parser)]
#[command(name = "cargo xtask peers", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// All figures that the project has set itself, as without a model
    #[arg(long, conflicts_with = "model")]
    all: bool,
    /// A network: a UNet (sd-turbo, sdxl-turbo, bk-sdm-tiny, demo ...), taesd, taesd-encoder or taesd-decoder
    #[arg(long)]
    model: Option<Model>,
    /// Number format of both sides
    #[arg(long, default_value = "f32", requires = "model")]
    dtype: Dtype,
    /// Whom to compare with
    #[arg(long, default_value = "openvino", requires = "model")]
    peer: Peer,
    /// Pixels to a side of the picture
    #[arg(long, default_value_t = 512, requires = "model")]
    size: usize,
    /// Rows of the batch
    #[arg(long, default_value = "1", requires = "model")]
    rows: NonZeroUsize,
    /// Threads, and cores, of each side
    #[arg(long, default_value = "2")]
    pub(crate) threads: NonZeroUsize,
    /// Quiet rounds to measure
    #[arg(long, default_value = "5")]
    pub(crate) rounds: NonZeroUsize,
    /// By what share the control kernel may be off its median in a quiet round
    #[arg(long, default_value_t = 0.1)]
    pub(crate) tolerance: f64,
    /// Also write all that was measured to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Folder for the networks that peers convert
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/peers"))]
    pub(crate) cache: PathBuf,
}

/// What this process is, where it is not the one that compares.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// A side of a comparison; started by the comparison itself
    #[command(hide = true)]
    Side(SideOptions),
}

/// What a side of ours, or candle's, runs.
#[derive(Debug, Args)]
pub(crate) struct SideOptions {
    #[arg(long)]
    pub(crate) of: Library,
    #[arg(long)]
    model: Model,
    #[arg(long)]
    dtype: Dtype,
    #[arg(long)]
    size: usize,
    #[arg(long)]
    rows: usize,
    #[arg(long)]
    threads: NonZeroUsize,
    /// How many runs of the networks are timed as one pass
    #[arg(long)]
    pub(crate) runs: usize,
}

/// A library that this program is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Library {
    Dreamframe,
    Candle,
}

impl Library {
    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Dreamframe => "dreamframe",
            Self::Candle => "candle",
        }
    }
}

impl Options {
    /// The figures to measure.
    ///
    /// # Errors
    ///
    /// Where one names no model.
    pub(crate) fn figures(&self) -> Result<Vec<Figure>> {
        let &Self { model, dtype, peer, size, rows, threads, .. } = self;
        let Some(model) = model else { return figure::all(threads) };
        let case = Case { model, dtype, size, rows: rows.get(), threads };
        Ok(vec![Figure { case, peer, target: None }])
    }
}

impl SideOptions {
    /// The command line of a side; the words that [`case`](Self::case) reads back.
    pub(crate) fn words(of: Library, case: &Case, runs: usize) -> Vec<String> {
        let Case { model, dtype, size, rows, threads } = case;
        format!(
            "side --of {} --model {model} --dtype {dtype} --size {size} --rows {rows} --threads {threads} --runs {runs}",
            of.name()
        )
        .split(' ')
        .map(str::to_owned)
        .collect()
    }

    pub(crate) fn case(&self) -> Case {
        let &Self { model, dtype, size, rows, threads, .. } = self;
        Case { model, dtype, size, rows, threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> std::result::Result<Options, clap::Error> {
        Options::try_parse_from(line.split(' '))
    }

    #[test]
    fn without_a_model_all_figures_are_measured_and_what_would_choose_one_is_refused() {
        let all = parse("peers --rounds 3").unwrap().figures().unwrap();
        assert_eq!(all, parse("peers --all").unwrap().figures().unwrap());
        assert!(all.len() > 1);
        assert!(parse("peers --dtype bf16").is_err());
        assert!(parse("peers --all --model demo").is_err());
    }

    #[test]
    fn flags_select_the_compared_model() {
        let figures =
            parse("peers --model demo --size 256 --peer torch --rows 2 --threads 4").unwrap().figures().unwrap();
        let [figure] = figures.as_slice() else { panic!("{figures:?}") };
        assert_eq!(figure.to_string(), "demo 256x256, 2 rows, f32, 4 threads, against torch");
    }

    #[test]
    fn a_side_reads_the_case_that_the_comparison_wrote() {
        let figures = parse("peers --model taesd --dtype bf16 --size 128 --rows 3").unwrap().figures().unwrap();
        let words = SideOptions::words(Library::Candle, &figures[0].case, 7);
        let read = Options::try_parse_from([vec!["peers".to_owned()], words].concat()).unwrap();
        let Some(Role::Side(side)) = read.role else { panic!("no side") };
        assert_eq!((side.case(), side.of, side.runs), (figures[0].case, Library::Candle, 7));
    }
}
