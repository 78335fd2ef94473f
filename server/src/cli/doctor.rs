//! `dreamframe doctor`: reports what this machine and this build have, and what would make pictures faster.

use dreamframe::load::HubCache;
use dreamframe::{Provider, cpu};
use serde_json::{Value, json};

use super::exit::Result;
use super::gpu;
use super::machine;
use super::output::Output;
use super::table::Table;

/// Shows what this machine and this build have, and what would make pictures faster
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result {
    let facts = Facts::gather();
    let advice = facts.advice();
    let mut out = Output::new();
    if args.json {
        return out.line(&facts.json(&advice));
    }
    out.text(&facts.table().to_string())?;
    let advice = if advice.is_empty() { vec!["nothing known".to_owned()] } else { advice };
    out.text(&format!("\nWhat would make it faster:\n- {}", advice.join("\n- ")))
}

/// The contents of a report.
#[derive(Debug, Clone)]
struct Facts {
    version: &'static str,
    debug: bool,
    features: Vec<&'static str>,
    processor: Option<String>,
    architecture: &'static str,
    processor_features: Vec<(&'static str, bool)>,
    /// What the executor `auto` selects.
    executor: &'static str,
    provider: Option<&'static str>,
    onnx_runtime: Option<String>,
    gpus: Option<Vec<String>>,
    /// What would make a GPU usable.
    gpu_remedy: Option<String>,
    kernels: &'static str,
    cores: usize,
    memory_mb: Option<(u64, u64)>,
    hub_cache: Option<(String, bool)>,
}

impl Facts {
    fn gather() -> Self {
        let gpu = gpu::Report::gather(None);
        let hub_cache = HubCache::from_env().map(|cache| (cache.root().display().to_string(), cache.root().is_dir()));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            debug: cfg!(debug_assertions),
            features: dreamframe::FEATURES.to_vec(),
            processor: cpu::processor_name(),
            architecture: std::env::consts::ARCH,
            processor_features: machine::processor_features(),
            executor: gpu.executor().name(),
            provider: gpu.provider().map(Provider::name),
            onnx_runtime: gpu.library(),
            gpus: gpu.gpus(),
            gpu_remedy: gpu.remedy(),
            kernels: cpu::instruction_set(),
            cores: machine::cores(),
            memory_mb: machine::memory_mb(),
            hub_cache,
        }
    }

    /// Advice for a person, most effective first.
    fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.debug {
            advice.push("this is a debug build: build with `cargo build --release`".to_owned());
        }
        advice.extend(self.gpu_remedy.as_ref().map(|remedy| format!("the GPU of this machine: {remedy}")));
        match self.kernels {
            "portable" => {
                advice.push("a processor with AVX2 or NEON: here, only the portable kernels run".to_owned());
            }
            "neon" => advice.push(
                "a processor with FEAT_BF16: it multiplies bf16, four times as many products \
                per instruction"
                    .to_owned(),
            ),
            "avx2" => advice.push("a processor with AVX-512: its registers are twice as wide".to_owned()),
            _ => {}
        }
        if self.cores < 8 {
            advice.push(format!("more cores: there are {}, and the executor scales to eight and more", self.cores));
        }
        if self.memory_mb.is_some_and(|(_, free)| free < 8 << 10) {
            advice.push("more free memory: a full-size model needs 8 GiB, SDXL twice as much".to_owned());
        }
        advice
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&["dreamframe", self.version]);
        let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
        row("build", if self.debug { "debug" } else { "release" }.to_owned());
        row("features", self.features.join(" "));
        row("processor", self.processor.clone().unwrap_or_else(|| "not known".to_owned()));
        row("architecture", self.architecture.to_owned());
        let signed = |&(name, here): &(&str, bool)| format!("{}{name}", if here { "+" } else { "-" });
        row("processor features", self.processor_features.iter().map(signed).collect::<Vec<_>>().join(" "));
        row(
            "executor",
            match self.provider {
                Some(provider) => format!("{} with the provider {provider}", self.executor),
                None => format!("{} with {} kernels", self.executor, self.kernels),
            },
        );
        let gpus = self.gpus.as_ref().map(|gpus| if gpus.is_empty() { "none".to_owned() } else { gpus.join(", ") });
        row("GPUs", gpus.unwrap_or_else(|| "not known".to_owned()));
        row("ONNX Runtime", self.onnx_runtime.clone().unwrap_or_else(|| "not installed".to_owned()));
        row("threads", self.cores.to_string());
        let memory = self.memory_mb.map(|(all, free)| format!("{all} MiB, {free} MiB free"));
        row("memory", memory.unwrap_or_else(|| "not known".to_owned()));
        let cache = self.hub_cache.as_ref();
        let cache = cache.map(|(path, there)| if *there { path.clone() } else { format!("{path} (not there yet)") });
        row("hub cache", cache.unwrap_or_else(|| "none: no home folder".to_owned()));
        table
    }

    fn json(&self, advice: &[String]) -> Value {
        let features: serde_json::Map<String, Value> =
            self.processor_features.iter().map(|(name, here)| ((*name).to_owned(), json!(here))).collect();
        json!({
            "version": self.version, "debug": self.debug, "features": self.features, "processor": self.processor,
            "architecture": self.architecture, "processor_features": features, "executor": self.executor,
            "provider": self.provider, "gpus": self.gpus, "onnxruntime": self.onnx_runtime,
            "kernels": self.kernels, "threads": self.cores,
            "memory_mb": self.memory_mb.map(|(all, _)| all), "memory_free_mb": self.memory_mb.map(|(_, free)| free),
            "hub_cache": self.hub_cache.as_ref().map(|(path, _)| path), "faster": advice,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(kernels: &'static str, cores: usize) -> Facts {
        Facts { debug: false, kernels, cores, memory_mb: Some((65536, 65536)), gpu_remedy: None, ..Facts::gather() }
    }

    #[test]
    fn a_machine_that_lacks_nothing_gets_no_advice() {
        assert!(machine("avx512", 16).advice().is_empty());
    }

    #[test]
    fn missing_features_are_named() {
        let advice = machine("avx2", 2).advice();
        assert!(advice.iter().any(|line| line.contains("AVX-512")), "{advice:?}");
        assert!(advice.iter().any(|line| line.contains("there are 2")), "{advice:?}");
        let unused = Facts { gpu_remedy: Some("dreamframe gpu install rtx".to_owned()), ..machine("avx512", 16) };
        assert_eq!(unused.advice(), ["the GPU of this machine: dreamframe gpu install rtx"]);
        assert!(machine("portable", 16).advice().iter().any(|line| line.contains("portable")));
    }
}
