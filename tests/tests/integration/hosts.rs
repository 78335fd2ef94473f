//! The plug-ins of `examples`, compiled and driven by stubs of their hosts, which call as the real ones do.
//!
//! The requirements of the plug-ins are in `tests/hosts/*/cases.cpp`; each case is a test here, in a separate process.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dreamframe::StreamDiffusionParams;
use dreamframe_tests::native::{Compiler, Link, program, root, run};
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
        let compiler = || Compiler::cpp().arg("-O1").arg("-I").arg(&interface);
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

/// Whether two values are the same, with `1` for `1.0`.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}
