//! The table of the steps of `cargo xtask test` and of the tasks that are parts of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::package::{Archive, FULL, SMALL};
use crate::prepare::Preparation;
use crate::report::{Need, Outcome, Report};
use crate::times::{self, Cost};
use crate::{
    architecture, check, container, crates, dist, feature_lints, header, long, package, public_api, python, rules,
    stubs, test, unsafe_code, wheel, workflows,
};

/// Which runs include a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// `cargo xtask test`, and so CI.
    Quick,
    /// `cargo xtask test --full` alone.
    Full,
}

/// The group of a step; each group is also a separate task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Check,
    Test,
    Package,
    FullPackage,
    Container,
    Crates,
    Dist,
    Python,
    Wheel,
    Long,
}

/// One entry of the table.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) suite: Suite,
    pub(crate) group: Group,
    need: Need,
    run: fn(&mut Context) -> Outcome,
}

/// Results of steps that later ones use.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The packages from npm and PyPI, which are installed while other steps compile.
    pub(crate) preparation: Option<Preparation>,
    /// The outcome of the Python package's tests, which ran at the same time as those of Rust.
    pub(crate) python_tests: Option<Outcome>,
    /// The folders of the unpacked archives of the C and C++ library, by their names.
    pub(crate) packages: BTreeMap<&'static str, PathBuf>,
    /// The wheel of the Python package.
    pub(crate) wheel: Option<PathBuf>,
}

const fn quick(group: Group, name: &'static str, run: fn(&mut Context) -> Outcome) -> Step {
    Step { name, suite: Suite::Quick, group, need: Need::Required, run }
}

const fn optional(group: Group, name: &'static str, run: fn(&mut Context) -> Outcome) -> Step {
    Step { name, suite: Suite::Quick, group, need: Need::Optional, run }
}

const fn full(group: Group, name: &'static str, run: fn(&mut Context) -> Outcome) -> Step {
    Step { name, suite: Suite::Full, group, need: Need::Required, run }
}

/// The step that the tests of the Python module need, which is also a part of another task.
pub(crate) const BUILD_LIBRARIES: &str = "tests: build C library and Python module";

/// The step that waits for the packages that are installed during earlier steps.
const PACKAGES: &str = "packages from npm and PyPI";

/// All steps, in the order in which they run: fast checks come first.
pub(crate) const STEPS: &[Step] = &[
    quick(Group::Check, "formatting", |_| check::formatting()),
    quick(Group::Check, "repository rules", |_| rules::check()),
    quick(Group::Check, "workflows", |_| workflows::check()),
    quick(Group::Check, "dependencies between modules", |_| architecture::check()),
    quick(Group::Check, "files with unsafe code", |_| unsafe_code::check()),
    quick(Group::Check, "Python syntax", |_| check::python_syntax()),
    quick(Group::Check, "licences, bans, sources", |_| check::licences()),
    quick(Group::Check, "generated files: C header", |_| header::check()),
    quick(Group::Check, "generated files: Python", |_| stubs::check()),
    quick(Group::Check, "build and lints: workspace", |_| check::lint_workspace()),
    quick(Group::Check, "lints: core library, default and no features", |_| feature_lints::lint_core()),
    optional(Group::Check, "docs", |_| check::docs()),
    optional(Group::Check, "public API", |_| public_api::check()),
    quick(Group::Test, "tests: build", |_| test::build()),
    quick(Group::Test, BUILD_LIBRARIES, |_| test::build_libraries()),
    quick(Group::Test, "C library: exported names", |_| package::development_exports()),
    quick(Group::Test, PACKAGES, test::packages),
    quick(Group::Test, "tests", test::run_all),
    quick(Group::Python, "Python: tests", python::test_development),
    optional(Group::Python, "Python: types and lint", |_| python::types()),
    full(Group::Check, "licences, bans, sources: cargo-deny", |_| check::deny()),
    full(Group::Check, "advisories", |_| crate::advisories::check()),
    full(Group::Check, "docs: all packages", |_| check::all_docs()),
    full(Group::Check, "lints: libraries with default features", |_| check::lint_default_features()),
    full(Group::Check, "lints: core, default features", |_| check::lint_core(&[])),
    full(Group::Check, "lints: core, no features", |_| check::lint_core(&["--no-default-features"])),
    full(Group::Check, "lints: core, all features that need no system library", |_| {
        check::lint_core(&["--features", check::ALL_FEATURES])
    }),
    full(Group::Check, "lints: C interface as shipped", |_| check::lint_shipped()),
    full(Group::Check, "lints: peers, with candle", |_| check::lint_peers()),
    full(Group::Check, "lints: core, aarch64", |_| check::lint_aarch64()),
    full(Group::Package, "package: made and unpacked", |context| package::make(context, &SMALL)),
    full(Group::Package, "package: size", |context| on_package(context, package::size)),
    full(Group::Package, "package: dependencies of the shared library", |context| {
        on_package(context, package::dependencies)
    }),
    full(Group::Package, "package: exported names", |context| {
        on_package(context, |folder, _| package::exports(folder))
    }),
    full(Group::Package, "package: features", |context| on_package(context, package::features)),
    full(Group::Package, "package: examples, with CMake", |context| {
        on_package(context, |folder, _| package::with_cmake(folder))
    }),
    full(Group::Package, "package: examples, with pkg-config", |context| {
        on_package(context, |folder, _| package::with_pkg_config(folder))
    }),
    full(Group::Package, "package: C and C++ tests", |context| {
        on_package(context, |folder, _| test::with_libraries(folder))
    }),
    full(Group::FullPackage, "full package: made and unpacked", |context| package::make(context, &FULL)),
    full(Group::FullPackage, "full package: size", |context| on_full_package(context, package::size)),
    full(Group::FullPackage, "full package: dependencies of the shared library", |context| {
        on_full_package(context, package::dependencies)
    }),
    full(Group::FullPackage, "full package: exported names", |context| {
        on_full_package(context, |folder, _| package::exports(folder))
    }),
    full(Group::FullPackage, "full package: features", |context| on_full_package(context, package::features)),
    full(Group::FullPackage, "full package: examples, with CMake", |context| {
        on_full_package(context, |folder, _| package::with_cmake(folder))
    }),
    full(Group::FullPackage, "full package: examples, with pkg-config", |context| {
        on_full_package(context, |folder, _| package::with_pkg_config(folder))
    }),
    full(Group::FullPackage, "full package: C and C++ tests of the network", |context| {
        on_full_package(context, |folder, _| test::with_network_libraries(folder))
    }),
    full(Group::Crates, "crates: packaged and built", |_| crates::make()),
    full(Group::Crates, "crates: sizes", |_| crates::sizes()),
    full(Group::Crates, "crates: a project of its own", |_| crates::outside()),
    full(Group::Wheel, "Python: wheel", wheel::make),
    full(Group::Wheel, "Python: contents of the wheel", |context| wheel::with(context, wheel::contents)),
    full(Group::Wheel, "Python: metadata of the wheel", |context| wheel::with(context, wheel::metadata)),
    full(Group::Wheel, "Python: a picture with the wheel on every version", |context| {
        wheel::with(context, python::first_pictures)
    }),
    full(Group::Container, "container: the Containerfile's stages in bare roots", |_| container::stages()),
    full(Group::Container, "container: unit of systemd", |_| container::unit()),
    full(Group::Dist, "program: archive", |_| dist::program()),
    full(Group::Dist, "program: used from the archive", |_| dist::used()),
    full(Group::Dist, "bills of materials", |_| dist::bills()),
    full(Group::Dist, "files to release, with checksums", |_| dist::collect()),
    full(Group::Python, "Python: tests of the wheel, oldest version", |context| {
        wheel::with(context, python::test_oldest)
    }),
    full(Group::Python, "Python: tests of the wheel, newest version", |context| {
        wheel::with(context, python::test_newest)
    }),
    full(Group::Python, "Python: wheel and tests before the stable interface", |_| python::test_before_stable()),
    full(Group::Long, "program: release build and demo", |_| long::demo()),
    full(Group::Long, "engines on a simulated device", |_| test::all_on_device()),
    full(Group::Long, "engines on ONNX Runtime", |_| test::on_onnx_runtime()),
    full(Group::Long, "tests that only this run has", |_| test::only_full()),
    full(Group::Long, "properties with random seeds", |_| test::properties()),
    full(Group::Long, "20,000 random patches, 10,000 frames", |_| test::patches_and_frames()),
    full(Group::Long, "soak, 10 minutes", |_| long::soak(10, None)),
    full(Group::Long, "fuzz targets, a minute each", |_| crate::fuzz::run(&crate::fuzz::Wanted::default())),
];

/// Runs a step on the archive without optional features.
fn on_package(context: &Context, step: fn(&Path, &Archive) -> Outcome) -> Outcome {
    package::with(context, &SMALL, |folder| step(folder, &SMALL))
}

/// Runs a step on the archive with all features.
fn on_full_package(context: &Context, step: fn(&Path, &Archive) -> Outcome) -> Outcome {
    package::with(context, &FULL, |folder| step(folder, &FULL))
}

/// Runs the steps that `choose` selects.
pub(crate) fn run(report: &mut Report, choose: impl Fn(&Step) -> bool) {
    let mut context = Context::default();
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| choose(step)).collect();
    if chosen.iter().any(|step| step.name == PACKAGES) {
        context.preparation = Some(Preparation::start());
    }
    for step in chosen {
        report.run(step.name, step.need, || (step.run)(&mut context));
    }
    if let Err(why) = times::keep(report.costs()) {
        eprintln!("   the times of these steps are not kept: {why}");
    }
}

/// Records the costs of the steps that passed in `docs/ci.md`.
pub(crate) fn record(report: &mut Report) {
    let names = |suite| STEPS.iter().filter(|step| step.suite == suite).map(|step| step.name).collect();
    let sections = [("quick", names(Suite::Quick)), ("full", names(Suite::Full))];
    let costs: Vec<(String, Cost)> = report.costs().map(|(name, cost)| (name.to_owned(), cost)).collect();
    let costs = costs.iter().map(|(name, cost)| (name.as_str(), *cost));
    report.step("record in docs/ci.md", || times::record(&sections, costs).into());
}

/// Returns a table of all steps with the cost of their last run.
pub(crate) fn list() -> String {
    let times = times::last();
    let seconds = |time: Option<Duration>| time.map_or("–".into(), |time| format!("{:.0}", time.as_secs_f64()));
    let mut text = format!("{:>9} {:>9}  suite  step (seconds by the clock, of processors)\n", "clock", "processor");
    for step in STEPS {
        let cost = times.get(step.name);
        let suite = match (step.suite, step.need) {
            (Suite::Full, _) => "full ",
            (Suite::Quick, Need::Required) => "quick",
            (Suite::Quick, Need::Optional) => "quick, optional",
        };
        let (clock, processor) = (seconds(cost.map(|c| c.clock)), seconds(cost.and_then(|c| c.processor)));
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{clock:>9} {processor:>9}  {suite}  {}", step.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_steps_are_unique_and_valid_in_a_table() {
        let names: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        assert!(names.iter().all(|name| !name.contains(['|', '\t', '\n'])));
    }

    #[test]
    fn the_list_has_every_step() {
        let list = list();
        assert!(STEPS.iter().all(|step| list.contains(step.name)), "{list}");
    }

    #[test]
    fn all_recorded_names_are_steps() {
        let text = std::fs::read_to_string(crate::tools::root().join("docs/ci.md")).unwrap();
        let known = |name: &str| STEPS.iter().any(|step| step.name == name);
        let rows = times::recorded(&text).into_iter().map(|row| row.name);
        let unknown: Vec<String> = rows.filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
