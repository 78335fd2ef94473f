//! The plug-ins of `examples`, compiled and driven by stubs of their hosts, which call as the real ones do.
//!
//! The requirements of the plug-ins are in `tests/hosts/*/cases.cpp`; each case is a test here, in a separate process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dreamframe::params::{CfgType, ControlNetConfig, IPAdapterType, Interpolation, ProcessorName, WeightType};
use dreamframe::{Dtype, StreamDiffusionParams};
use dreamframe_tests::native::{Compiler, Link, is_full, program, root, run};
use serde_json::Value;

/// A plug-in and the stub that drives it.
struct Host {
    plugin: PathBuf,
    cases: PathBuf,
    /// Where the pictures of the cases go, to be looked at.
    pictures: PathBuf,
}

impl Host {
    fn build(folder: &str, source: &str, cases: &str) -> Self {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts").join(folder).join(cases);
        std::fs::create_dir_all(&made).unwrap();
        let plugin = root().join("examples").join(folder);
        let interface = plugin.join("interface");
        // Optimisation takes half of the time, and finds a few more warnings.
        let level = if is_full() { "-O1" } else { "-O0" };
        let compiler = || Compiler::cpp().arg(level).arg("-I").arg(&interface);
        let cases = root().join("tests/hosts").join(folder).join(cases);
        Self {
            plugin: compiler()
                .args(["-fPIC", "-shared"])
                .arg(plugin.join(source))
                .link(Link::Shared)
                .output(made.join("plugin.so")),
            // Symbols of the host are found in its program.
            cases: compiler().arg("-rdynamic").arg(cases).link(Link::Shared).output(made.join("cases")),
            pictures: made,
        }
    }

    /// Runs one case; gives what it printed.
    fn case(&self, name: &str) -> String {
        let mut command = program(&self.cases);
        let output = run(command.arg(&self.plugin).arg(&self.pictures).arg(name));
        String::from_utf8(output.stdout).unwrap()
    }
}

static TOUCHDESIGNER: LazyLock<Host> = LazyLock::new(|| Host::build("touchdesigner", "DreamframeTOP.cpp", "cases.cpp"));
static TOUCHDESIGNER_CUDA: LazyLock<Host> =
    LazyLock::new(|| Host::build("touchdesigner", "DreamframeCudaTOP.cpp", "cuda_cases.cpp"));
static OBS: LazyLock<Host> = LazyLock::new(|| Host::build("obs", "dreamframe-filter.cpp", "cases.cpp"));

/// Runs every case of a stub; prints which one failed.
fn run_cases(host: &Host) {
    let names = host.case("list");
    assert!(names.lines().count() > 5, "{names}");
    for name in names.lines() {
        host.case(name);
    }
}

#[test]
fn the_touchdesigner_top_serves_its_host() {
    run_cases(&TOUCHDESIGNER);
}

#[test]
fn the_touchdesigner_top_with_cuda_serves_its_host() {
    run_cases(&TOUCHDESIGNER_CUDA);
}

#[test]
fn the_obs_filter_serves_its_host() {
    run_cases(&OBS);
}

/// The defaults that a plug-in shows, by the name of the parameter: those that are numbers, and those that are texts.
fn defaults(host: &Host) -> Vec<(String, String)> {
    let split = |line: &str| {
        let (name, value) = line.split_once('\t').unwrap_or_else(|| panic!("no default in {line:?}"));
        (name.to_owned(), value.to_owned())
    };
    host.case("defaults").lines().map(split).collect()
}

#[test]
fn plug_ins_show_the_defaults_of_the_demo_model() {
    let demo = serde_json::to_value(StreamDiffusionParams::demo()).unwrap();
    for host in [&*TOUCHDESIGNER, &*OBS] {
        let shown = defaults(host);
        assert!(shown.len() >= 10, "{shown:?}");
        for (name, value) in shown {
            let value: Value =
                serde_json::from_str(&value).unwrap_or_else(|error| panic!("{name} is {value}: {error}"));
            let expected = &demo[&name];
            assert!(same(&value, expected), "{name} is {value}, but {expected} in the library");
        }
    }
}

/// Whether a value that a plug-in shows is the library's, with `1` for `1.0`, and some of the fields of an object.
fn same(shown: &Value, library: &Value) -> bool {
    match (shown, library) {
        (Value::Number(shown), Value::Number(library)) => shown.as_f64() == library.as_f64(),
        (Value::Object(shown), Value::Object(library)) => {
            shown.iter().all(|(name, value)| library.get(name).is_some_and(|library| same(value, library)))
        }
        _ => shown == library,
    }
}

/// The program that writes the settings that both plug-ins have.
static SETTINGS: LazyLock<PathBuf> = LazyLock::new(|| {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hosts");
    std::fs::create_dir_all(&made).unwrap();
    Compiler::cpp().arg(root().join("tests/hosts/settings.cpp")).link(Link::Shared).output(made.join("settings"))
});

/// What that program prints, with these settings in place of the defaults.
fn settings(arguments: &[&str]) -> String {
    String::from_utf8(run(program(&*SETTINGS).args(arguments)).stdout).unwrap()
}

#[test]
fn choices_of_plug_ins_are_the_names_of_the_library() {
    let printed = settings(&["choices"]);
    let mut choices = BTreeMap::<&str, Vec<&str>>::new();
    for line in printed.lines() {
        let (field, choice) = line.split_once('\t').unwrap();
        choices.entry(field).or_default().push(choice);
    }
    assert_eq!(choices["cfg_type"], CfgType::NAMES);
    assert_eq!(choices["prompt_transition_method"], Interpolation::NAMES);
    assert_eq!(choices["ip_adapter_type"], IPAdapterType::NAMES);
    assert_eq!(choices["ip_adapter_weight_type"], WeightType::NAMES);
    let dtypes = [Dtype::Auto, Dtype::F32, Dtype::Bf16, Dtype::Int8, Dtype::F16];
    assert_eq!(choices["dtype"], dtypes.map(Dtype::name));
    let accepted = |name: &&&str| {
        let net = format!(r#"{{"controlnets": [{{"model_id": "some/net", "preprocessor": "{name}"}}]}}"#);
        StreamDiffusionParams::demo().patched(&net).is_ok()
    };
    let expected: BTreeSet<&str> = ProcessorName::NAMES.iter().filter(accepted).copied().chain(["none"]).collect();
    let preprocessors: BTreeSet<&str> = choices["controlnet1_preprocessor"].iter().copied().collect();
    assert_eq!(preprocessors, expected);
}

#[test]
fn settings_of_plug_ins_become_parameters() {
    let patch = settings(&[
        "values",
        "controlnet1=some/canny",
        "controlnet1_scale=0.25",
        "controlnet1_preprocessor=canny",
        "controlnet3=some/\"depth\"",
        "controlnet3_enabled=0",
        "lora2=some/style",
        "lora2_scale=-0.5",
        "lora4=some/detail",
        "ip_adapter_enabled=1",
        "ip_adapter_scale=0.75",
        "ip_adapter_weight_type=ease in",
        "cfg_type=full",
        "negative_prompt=blurry",
        "guidance_scale=2",
    ]);
    let (params, _) = StreamDiffusionParams::demo().patched(&patch).unwrap();
    let canny = ControlNetConfig {
        conditioning_scale: 0.25,
        preprocessor: Some(ProcessorName::Canny),
        ..ControlNetConfig::new("some/canny")
    };
    let depth = ControlNetConfig { enabled: false, ..ControlNetConfig::new("some/\"depth\"") };
    assert_eq!(params.controlnets, [canny, depth]);
    let loras = [("some/detail".to_owned(), 1.0), ("some/style".to_owned(), -0.5)];
    assert_eq!(params.lora_dict, BTreeMap::from(loras));
    let adapter = &params.ip_adapter;
    assert_eq!((adapter.enabled, adapter.scale, adapter.weight_type), (true, 0.75, WeightType::EaseIn));
    assert!(params.uses_negative_prompt());
    // A LoRA that is there twice is refused, and not silently one of them.
    let twice = settings(&["values", "lora1=some/style", "lora2=some/style"]);
    let error = StreamDiffusionParams::demo().patched(&twice).unwrap_err();
    assert!(error.to_string().contains("some/style"), "{error}");
}
