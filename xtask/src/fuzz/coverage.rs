//! What the seeds and the corpus of a fuzz target cover of the source files that it is for.
//!
//! libFuzzer counts the edges of the whole program. Here the compiler counts executed regions of the source; only the
//! workspace's packages are compiled for that, so that their dependencies are not built again.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

use super::modules;
use crate::tools::{self, output, succeed};

/// The columns of the table of coverage.
pub(super) const HEADER: &str = "| Date | Commit | Target | Inputs | Lines | Regions | Source files |";
/// Set for cargo, which then starts this program as the compiler.
const AS_COMPILER: &str = "DREAMFRAME_XTASK_COVERAGE";
/// The program that runs inputs.
const PROGRAM: &str = "run_inputs";

/// Compiles in place of rustc, whose path cargo gives first; `None` if this program was not started as the compiler.
pub(crate) fn as_compiler(arguments: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(AS_COMPILER)?;
    let (compiler, arguments) = arguments.split_first()?;
    match Command::new(compiler).args(arguments).args(["-C", "instrument-coverage"]).status() {
        Ok(status) if status.success() => Some(ExitCode::SUCCESS),
        Ok(_) => Some(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("{}: {error}", compiler.display());
            Some(ExitCode::FAILURE)
        }
    }
}

/// The program that runs inputs, and LLVM's programs that read what it counted.
pub(super) struct Runner {
    program: PathBuf,
    llvm: PathBuf,
}

impl Runner {
    /// Builds the program.
    ///
    /// # Errors
    ///
    /// If it does not compile, or LLVM's programs are missing.
    pub(super) fn build() -> Result<Self, String> {
        let libraries = output(Command::new("rustc").args(["--print", "target-libdir"]))?;
        let llvm = Path::new(libraries.trim()).with_file_name("bin");
        if !llvm.join(format!("llvm-cov{}", std::env::consts::EXE_SUFFIX)).is_file() {
            return Err("llvm-cov: missing; `rustup component add llvm-tools` installs it".into());
        }
        let compiler = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut build = tools::workspace("build");
        build.args(["--quiet", "--example", PROGRAM]).env("RUSTC_WORKSPACE_WRAPPER", compiler).env(AS_COMPILER, "1");
        // Build scripts count too. In the folders of their packages, their files would cause the next build.
        succeed(build.env("LLVM_PROFILE_FILE", tools::target().join("coverage/build.profraw")))?;
        let program = tools::target().join("debug/examples").join(PROGRAM);
        Ok(Self { program: program.with_extension(std::env::consts::EXE_EXTENSION), llvm })
    }

    /// Runs the inputs in `folders`, and returns how many there are and what they cover of the target's source files.
    ///
    /// # Errors
    ///
    /// If an input fails, or the counts cannot be read.
    pub(super) fn measure(&self, target: &str, folders: &[PathBuf]) -> Result<(usize, Coverage), String> {
        let counts = tools::target().join("coverage").join(target).with_extension("profraw");
        let merged = counts.with_extension("profdata");
        let _ = fs::remove_file(&counts);
        succeed(Command::new(&self.program).arg(target).args(folders).env("LLVM_PROFILE_FILE", &counts))?;
        let mut merge = Command::new(self.llvm.join("llvm-profdata"));
        succeed(merge.args(["merge", "--sparse"]).arg(&counts).arg("--output").arg(&merged))?;
        let mut export = Command::new(self.llvm.join("llvm-cov"));
        export.args(["export", "--summary-only", "--instr-profile"]).arg(&merged).arg(&self.program);
        let export = serde_json::from_str(&output(&mut export)?).map_err(|error| format!("llvm-cov: {error}"))?;
        let inputs = folders.iter().flat_map(fs::read_dir).flatten().count();
        Ok((inputs, Coverage::read(&export, tools::root(), modules::of(target))?))
    }
}

/// Returns the path without `..`, as the paths of a package have whose source files are in another folder.
fn without_parents(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        if part == Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

/// How much of some source files is covered: how many, and of how many.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    lines: [u64; 2],
    regions: [u64; 2],
}

impl Coverage {
    /// Adds what `export`, the output of llvm-cov, has of those of the files below `root` that are `modules`.
    fn read(export: &Value, root: &Path, modules: &[&str]) -> Result<Self, String> {
        let (mut coverage, mut files) = (Self::default(), 0);
        for file in export["data"][0]["files"].as_array().into_iter().flatten() {
            let path = without_parents(Path::new(file["filename"].as_str().unwrap_or_default()));
            if modules::has(modules, path.strip_prefix(root).unwrap_or(&path)) {
                files += 1;
                for (kind, sum) in [("lines", &mut coverage.lines), ("regions", &mut coverage.regions)] {
                    for (name, sum) in ["covered", "count"].iter().zip(sum) {
                        let number = file["summary"][kind][name].as_u64();
                        *sum += number.ok_or_else(|| format!("llvm-cov: {}: no {kind}.{name}", path.display()))?;
                    }
                }
            }
        }
        if files == 0 {
            Err(format!("llvm-cov: got no file of {modules:?}, expected at least one"))
        } else {
            Ok(coverage)
        }
    }

    /// Returns the row of the table.
    pub(super) fn row(&self, date: &str, commit: &str, target: &str, inputs: usize) -> String {
        let share = |[covered, count]: [u64; 2]| {
            let percent = (100 * covered).checked_div(count).unwrap_or_default();
            format!("{covered} of {count} ({percent} %)")
        };
        let (lines, regions) = (share(self.lines), share(self.regions));
        let files = modules::of(target).iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
        format!("| {date} | {commit} | {target} | {inputs} | {lines} | {regions} | {files} |")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(name: &str, lines: [u64; 2], regions: [u64; 2]) -> Value {
        let share = |[covered, count]: [u64; 2]| json!({"count": count, "covered": covered, "percent": 0.0});
        json!({"filename": name, "summary": {"lines": share(lines), "regions": share(regions)}})
    }

    #[test]
    fn coverage_is_the_sum_over_the_files_of_the_modules() {
        let files = [
            file("/x/server/src/hls/mod.rs", [7, 10], [20, 40]),
            file("/x/fuzz/ffi/../../server/src/hls/fmp4.rs", [2, 5], [3, 4]),
            file("/x/server/src/osc.rs", [100, 100], [100, 100]),
            file("/y/server/src/hls/mod.rs", [100, 100], [100, 100]),
        ];
        let export = json!({"data": [{"files": files}], "type": "llvm.coverage.json.export"});
        let coverage = Coverage::read(&export, Path::new("/x"), &["server/src/hls"]).unwrap();
        assert_eq!(coverage, Coverage { lines: [9, 15], regions: [23, 44] });
        let row = coverage.row("2026-01-31", "0123abc", "hls", 12);
        assert_eq!(row, "| 2026-01-31 | 0123abc | hls | 12 | 9 of 15 (60 %) | 23 of 44 (52 %) | `server/src/hls` |");
        assert_eq!(row.matches('|').count(), HEADER.matches('|').count());
    }

    #[test]
    fn output_without_the_files_or_without_their_counts_is_an_error() {
        let read = |export: &Value| Coverage::read(export, Path::new("/x"), &["server/src/hls"]).unwrap_err();
        let other = json!({"data": [{"files": [file("/x/core/src/lib.rs", [1, 1], [1, 1])]}]});
        assert!(read(&other).contains("server/src/hls") && read(&json!({})).contains("server/src/hls"));
        let without = json!({"data": [{"files": [{"filename": "/x/server/src/hls/mod.rs", "summary": {}}]}]});
        assert!(read(&without).contains("no lines.covered"));
    }
}
