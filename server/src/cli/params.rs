//! `dreamframe params`: checks parameter files, and reports the cost of changes.

use std::path::PathBuf;

use clap::Subcommand;
use dreamframe::params::{self, Change, StreamDiffusionParams};
use serde_json::json;

use super::exit::Result;
use super::options::read_params;
use super::output::Output;
use super::table::Table;

/// Checks and compares parameters, and documents them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the JSON Schema of the parameters
    Schema,
    /// Checks a file of parameters: every violation is a line, and the exit code is 3
    Check {
        /// A JSON file; absent parameters have their defaults
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Shows the differences between two files of parameters, and the cost of the change for a running stream
    Diff {
        /// The parameters before
        old: PathBuf,
        /// The parameters after
        new: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Prints every parameter with its range, its default and the cost of a change, as Markdown
    Table,
}

impl Args {
    /// Whether a failure is reported in JSON too.
    pub(super) fn json(&self) -> bool {
        matches!(self.action, Action::Check { json: true, .. } | Action::Diff { json: true, .. })
    }
}

pub(super) fn run(args: &Args) -> Result {
    let mut out = Output::new();
    match &args.action {
        Action::Schema => out.text(&format!("{:#}", params::schema())),
        Action::Table => out.text(&params::markdown_table()),
        Action::Check { file, json } => {
            let (_, notices) = read_params(file, &StreamDiffusionParams::default())?;
            if *json {
                return out.line(&json!({"valid": true, "notices": notices}));
            }
            for notice in notices {
                eprintln!("dreamframe: note: {notice}");
            }
            eprintln!("dreamframe: {} is valid", file.display());
            Ok(())
        }
        Action::Diff { old, new, json } => {
            let base = StreamDiffusionParams::default();
            let changes = params::diff(&read_params(old, &base)?.0, &read_params(new, &base)?.0);
            let cost = params::total_cost(&changes);
            if *json {
                return out.line(&json!({"cost": cost, "changes": changes}));
            }
            match cost {
                Some(cost) => out.text(&format!("{}\ncost: {cost}", table(&changes))),
                None => out.text("no change"),
            }
        }
    }
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::new(&["parameter", "old", "new", "cost"]);
    for change in changes {
        let value = |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), short);
        table.row([change.path.clone(), value(&change.old), value(&change.new), change.cost.to_string()]);
    }
    table
}

/// A value as JSON, cut where it would not fit a line.
fn short(value: &serde_json::Value) -> String {
    const LONGEST: usize = 40;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(&text)),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        assert_eq!(short(&json!("é".repeat(100))).chars().count(), 41);
        assert_eq!(short(&json!([1, 2])), "[1,2]");
    }
}
