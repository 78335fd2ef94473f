//! `dreamframe gpu`: reports the GPUs of this machine and what is installed for them, and installs it.

mod adapters;
mod install;
mod manifest;
mod pip;
mod staging;
mod wheel;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use dreamframe::load::OnnxRuntimeFiles;
use dreamframe::{Dtype, ExecutorKind, OnnxReport, Provider};
use serde_json::{Value, json};

use self::adapters::{Adapter, Adapters};
use self::manifest::{Set, file_name};
use super::exit::Result;
use super::output::Output;
use super::table::Table;

/// Shows the GPUs of this machine, what is installed for them and what is missing; installs it
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// ONNX Runtime's library, or a folder with it [default: DREAMFRAME_ONNXRUNTIME, or what `dreamframe gpu install`
    /// installed]
    #[arg(long, value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    Install(install::Args),
}

impl Args {
    /// Whether a failure is reported in JSON too.
    pub(super) fn json(&self) -> bool {
        match &self.action {
            Some(Action::Install(args)) => args.json,
            None => self.json,
        }
    }
}

pub(super) fn run(args: &Args) -> Result {
    let mut out = Output::new();
    match &args.action {
        None => {
            let report = Report::gather(args.onnxruntime.as_deref());
            if args.json { out.line(&report.json()) } else { out.text(&report.text()) }
        }
        Some(Action::Install(args)) => {
            let folder = install::run(args)?;
            if args.json {
                return Ok(());
            }
            // Installed or not, a provider works only with its device and driver.
            out.text(&format!("installed: {}\n\n{}", folder.display(), Report::gather(Some(&folder)).text()))
        }
    }
}

/// The GPUs of this machine, and ONNX Runtime with its execution providers.
#[derive(Debug)]
pub(super) struct Report {
    adapters: Adapters,
    /// The library, or why there is none.
    library: std::result::Result<Library, String>,
}

/// ONNX Runtime.
#[derive(Debug)]
struct Library {
    path: PathBuf,
    /// `None` if it cannot be loaded.
    version: Option<String>,
    providers: Vec<ProviderState>,
    /// The provider that the executor `auto` selects.
    automatic: Option<Provider>,
}

/// An execution provider on this machine.
#[derive(Debug)]
struct ProviderState {
    provider: Provider,
    package: &'static str,
    dtype: Dtype,
    /// Why it does not work; `None` if it does.
    problem: Option<String>,
}

impl Report {
    /// Loads ONNX Runtime, `library` or the default one, and tries its providers.
    pub(super) fn gather(library: Option<&Path>) -> Self {
        let library = OnnxReport::gather(library).map_err(|error| format!("{error:#}")).map(|found| Library {
            automatic: found.automatic().map(|provider| provider.provider),
            path: found.library,
            version: found.version,
            providers: found
                .providers
                .into_iter()
                .map(|provider| ProviderState {
                    provider: provider.provider,
                    package: provider.package,
                    dtype: provider.dtype,
                    problem: provider.result.err().map(|error| format!("{error:#}")),
                })
                .collect(),
        });
        Self { adapters: Adapters::gather(), library }
    }

    /// Returns the executor that `auto` selects.
    pub(super) fn executor(&self) -> ExecutorKind {
        if self.provider().is_some() { ExecutorKind::Onnx } else { ExecutorKind::Cpu }
    }

    /// Returns the execution provider that `auto` selects; `None` for the executor `cpu`.
    pub(super) fn provider(&self) -> Option<Provider> {
        self.library.as_ref().ok()?.automatic
    }

    /// Returns ONNX Runtime's version and path; `None` if it is not installed.
    pub(super) fn library(&self) -> Option<String> {
        let library = self.library.as_ref().ok()?;
        let version = library.version.as_deref().unwrap_or("cannot be loaded");
        Some(format!("{version} ({})", library.path.display()))
    }

    /// Returns the names of the GPUs; `None` if the system does not list them.
    pub(super) fn gpus(&self) -> Option<Vec<String>> {
        Some(self.adapters.list.as_ref()?.iter().map(Adapter::name).collect())
    }

    /// Returns what would make a GPU usable: a command, or what to install otherwise. `None` if one is used, or none is
    /// known.
    pub(super) fn remedy(&self) -> Option<String> {
        if self.provider().is_some() {
            return None;
        }
        let set = self.adapters.set()?;
        if self.adapters.lacks_nvidia_driver() && matches!(set, Set::Rtx | Set::Cuda) {
            return Some("install NVIDIA's driver: https://www.nvidia.com/drivers".to_owned());
        }
        (!self.has(set)).then(|| format!("dreamframe gpu install {}", set.name()))
    }

    /// Returns whether the libraries of `set` are installed.
    fn has(&self, set: Set) -> bool {
        let Some(folder) = self.library.as_ref().ok().and_then(|library| library.path.parent()) else { return false };
        let Ok(wheels) = manifest::wheels(set, &manifest::platform()) else { return false };
        let mut files = wheels.iter().flat_map(|wheel| &wheel.libraries).filter_map(|path| file_name(path));
        files.all(|name| folder.join(name).is_file())
    }

    fn text(&self) -> String {
        let gpus = match self.gpus() {
            None => "not known: this system does not list them".to_owned(),
            Some(names) if names.is_empty() => "none found".to_owned(),
            Some(names) => names.join(", "),
        };
        let mut table = Table::new(&["GPUs", &gpus]);
        if let Some(version) = &self.adapters.nvidia_driver {
            table.row(["NVIDIA driver".to_owned(), version.clone()]);
        }
        table.row(["ONNX Runtime".to_owned(), self.library().unwrap_or_else(|| "not installed".to_owned())]);
        table.row(["--executor auto".to_owned(), self.choice()]);
        let mut text = table.to_string();
        match &self.library {
            Ok(library) => text.push_str(&format!("\n{}", library.text())),
            Err(problem) => text.push_str(&format!("\n{problem}\n")),
        }
        match self.remedy() {
            Some(remedy) => text.push_str(&format!("\nTo use the GPU: {remedy}\n")),
            None if self.provider().is_none() && self.adapters.set().is_none() => {
                text.push_str(
                    "\nNo GPU of NVIDIA, AMD or Intel is known; `dreamframe gpu install SET` installs a set in any case.\n",
                );
            }
            None => {}
        }
        text
    }

    /// Returns what the executor `auto` selects, in words.
    fn choice(&self) -> String {
        match self.provider() {
            Some(provider) => format!("{} with the provider {provider}", ExecutorKind::Onnx),
            None => format!("{}: no provider of a GPU works", ExecutorKind::Cpu),
        }
    }

    fn json(&self) -> Value {
        let library = self.library.as_ref().ok();
        let providers: Vec<Value> = library
            .into_iter()
            .flat_map(|library| &library.providers)
            .map(|provider| {
                json!({
                    "provider": provider.provider.name(), "works": provider.problem.is_none(),
                    "dtype": provider.dtype.name(), "package": provider.package, "problem": provider.problem,
                })
            })
            .collect();
        json!({
            "gpus": self.gpus(), "nvidia_driver": self.adapters.nvidia_driver,
            "library": library.map(|library| &library.path),
            "version": library.and_then(|library| library.version.as_deref()),
            "problem": self.library.as_ref().err(), "providers": providers,
            "executor": self.executor().name(), "provider": self.provider().map(Provider::name),
            "install_folder": OnnxRuntimeFiles::install_folder(), "remedy": self.remedy(),
        })
    }
}

impl Library {
    /// Returns a table of the providers, and why some do not work.
    fn text(&self) -> String {
        let mut table = Table::new(&["provider", "works", "dtype", "Python package"]);
        for ProviderState { provider, package, dtype, problem } in &self.providers {
            let works = if problem.is_none() { "yes" } else { "no" };
            table.row([provider.name(), works, dtype.name(), package].map(str::to_owned));
        }
        let problems: String = self
            .providers
            .iter()
            .filter_map(|state| state.problem.as_deref())
            .map(|problem| format!("- {}\n", problem.trim_end().replace('\n', "\n  ")))
            .collect();
        if problems.is_empty() { table.to_string() } else { format!("{table}\nWhy not:\n{problems}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(gpu: Option<&str>, driver: Option<&str>, library: Option<Library>) -> Report {
        let adapters = Adapters::of(gpu, driver);
        Report { adapters, library: library.ok_or_else(|| "ONNX Runtime: got no library".to_owned()) }
    }

    fn library(path: &Path, problem: Option<&str>) -> Library {
        let state = |provider, problem: Option<&str>| ProviderState {
            provider,
            package: "a-package",
            dtype: Dtype::F16,
            problem: problem.map(str::to_owned),
        };
        Library {
            path: path.to_owned(),
            version: Some("1.32.0".to_owned()),
            providers: vec![state(Provider::TensorRtRtx, problem), state(Provider::Cpu, None)],
            automatic: problem.is_none().then_some(Provider::TensorRtRtx),
        }
    }

    const RTX_4090: Option<&str> = Some("10de:2684");

    #[test]
    fn what_is_missing_is_named_with_one_command() {
        let remedy = |gpu, driver| report(gpu, driver, None).remedy();
        assert_eq!(remedy(None, None), None);
        assert!(remedy(RTX_4090, None).unwrap().contains("https://www.nvidia.com/drivers"));
        assert_eq!(remedy(RTX_4090, Some("580.65")).unwrap(), "dreamframe gpu install rtx");
        assert_eq!(remedy(Some("1002:744c"), None).unwrap(), "dreamframe gpu install webgpu");
    }

    #[test]
    fn a_provider_that_works_is_what_auto_selects() {
        let report = report(RTX_4090, Some("580.65"), Some(library(Path::new("libonnxruntime.so"), None)));
        assert_eq!((report.executor(), report.remedy()), (ExecutorKind::Onnx, None));
        let text = report.text();
        assert!(text.contains("onnx with the provider tensorrt-rtx") && text.contains("NVIDIA (10de:2684)"), "{text}");
        assert_eq!(report.json()["providers"][0]["works"], true);
    }

    #[test]
    fn a_provider_that_does_not_work_is_listed_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so");
        let report = report(RTX_4090, Some("580.65"), Some(library(&path, Some("libcuda.so.1 is missing"))));
        assert_eq!((report.executor(), report.provider()), (ExecutorKind::Cpu, None));
        let text = report.text();
        assert!(text.contains("Why not:\n- libcuda.so.1 is missing") && text.contains("cpu: no provider"), "{text}");
        assert_eq!(report.json()["providers"][0]["problem"], "libcuda.so.1 is missing");
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn an_installed_set_is_not_proposed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libonnxruntime.so.1.32.0");
        let report = report(RTX_4090, Some("580.65"), Some(library(&path, Some("no device"))));
        assert_eq!(report.remedy().unwrap(), "dreamframe gpu install rtx");
        for wheel in manifest::wheels(Set::Rtx, "linux-x86_64").unwrap() {
            for name in wheel.libraries.iter().filter_map(|path| file_name(path)) {
                std::fs::write(folder.path().join(name), "").unwrap();
            }
        }
        assert_eq!(report.remedy(), None);
    }
}
