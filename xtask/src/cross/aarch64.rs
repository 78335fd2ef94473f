//! Linux on 64-bit Arm processors, emulated by QEMU: each level of the kernels on a processor that has exactly it.

use std::process::Command;

use super::loops;
use crate::report::{Outcome, Report, run_each};
use crate::tools::{cargo, output, succeed, target, works};

/// The target of the compiler.
const TARGET: &str = "aarch64-unknown-linux-gnu";
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const CPP_COMPILER: &str = "aarch64-linux-gnu-g++";
const EMULATOR: &str = "qemu-aarch64-static";
/// The libraries of the target, which Debian's package `libc6-dev-arm64-cross` installs.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Programs that are needed, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [
    (COMPILER, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    (CPP_COMPILER, "g++-aarch64-linux-gnu"),
    (EMULATOR, "qemu-user-static"),
];

/// The emulated processor with all levels.
const ALL_LEVELS: &str = "max";
/// Emulated processors, and the highest level of the kernels that each has.
const PROCESSORS: [(&str, &str); 3] = [("cortex-a72", "neon"), ("neoverse-n1", "neon-dot"), (ALL_LEVELS, "neon-i8mm")];

/// The tests that compare the kernels with their definitions.
const KERNEL_TESTS: &str = "exec::cpu::";
/// The modules with the slowest tests, which make pictures with the demo model: each is a step of its own.
const SLOW_TESTS: [&str; 2] = ["session::", "engine::"];

/// Optimization of the core, since emulated code is slow; and of a crate whose assembly needs it to compile
/// (github.com/sarah-quinones/gemm/issues/31).
const PROFILE: [&str; 2] = ["profile.dev.package.dreamframe.opt-level=1", "profile.dev.package.gemm-f16.opt-level=2"];

/// Builds and runs everything.
pub(super) fn run(report: &mut Report) {
    if let Err(why) = find_tools() {
        report.step("aarch64: tools", || Outcome::NotRun(why));
        return;
    }
    report.step("aarch64: instructions of the inner loops", || inner_loops().into());
    report.step("aarch64: build of the tests", || {
        let mut builds = [core_tests(ALL_LEVELS), kernels_tests(ALL_LEVELS)];
        builds.iter_mut().for_each(|build| {
            build.arg("--no-run");
        });
        run_each(&mut builds)
    });
    for (processor, level) in PROCESSORS {
        report.step(&format!("aarch64: kernels on {processor}, up to {level}"), || kernels(processor));
    }
    report.step(&format!("aarch64: other unit tests of the core on {ALL_LEVELS}"), || {
        let skipped = SLOW_TESTS.into_iter().chain([KERNEL_TESTS]).flat_map(|name| ["--skip", name]);
        succeed(core_tests(ALL_LEVELS).arg("--").args(skipped)).into()
    });
    for name in SLOW_TESTS {
        report.step(&format!("aarch64: unit tests {name} of the core on {ALL_LEVELS}"), || {
            succeed(core_tests(ALL_LEVELS).args(["--", name])).into()
        });
    }
    report.step("aarch64: build of the C library and the program", || {
        let packages = ["dreamframe-ffi", "dreamframe-server"];
        succeed(for_target("build").args(packages.map(|package| format!("--package={package}")))).into()
    });
    report.step("aarch64: a picture of the portable kernels is that of x86-64", || same_picture().into());
    report.step("aarch64: the program names the level of each processor", || program().into());
}

/// # Errors
///
/// The command that installs what is missing.
fn find_tools() -> Result<(), String> {
    for (program, packages) in PROGRAMS {
        if !works(Command::new(program).arg("--version")) {
            return Err(format!("{program}: missing, expected from the Debian packages {packages}"));
        }
    }
    super::require_targets(&[TARGET])
}

/// The emulator with a processor.
fn emulator(processor: &str) -> [&str; 5] {
    [EMULATOR, "-cpu", processor, "-L", LIBRARIES]
}

/// Cargo's `subcommand` for the target; what it runs has the processor with all levels.
fn for_target(subcommand: &str) -> Command {
    on(subcommand, ALL_LEVELS)
}

/// The same with another processor.
fn on(subcommand: &str, processor: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--quiet", "--target", TARGET]);
    for setting in PROFILE {
        command.args(["--config", setting]);
    }
    let upper = TARGET.to_uppercase().replace('-', "_");
    command.env(format!("CARGO_TARGET_{upper}_LINKER"), COMPILER);
    command.env(format!("CARGO_TARGET_{upper}_RUNNER"), emulator(processor).join(" "));
    let lower = TARGET.replace('-', "_");
    command.env(format!("CC_{lower}"), COMPILER).env(format!("CXX_{lower}"), CPP_COMPILER);
    command
}

fn core_tests(processor: &str) -> Command {
    let mut tests = on("test", processor);
    tests.args(["--package", "dreamframe", "--lib"]);
    tests
}

/// The kernels' own tests.
fn kernels_tests(processor: &str) -> Command {
    let mut tests = on("test", processor);
    tests.args(["--package", "dreamframe-kernels", "--features", "testing", "--tests"]);
    tests
}

/// Runs the tests of the kernels on a processor, where `Isa::ALL` has the levels that the program finds.
fn kernels(processor: &str) -> Outcome {
    let mut tests = core_tests(processor);
    tests.args(["--", KERNEL_TESTS]);
    run_each(&mut [kernels_tests(processor), tests])
}

/// Prints how many instructions the inner loops have.
///
/// # Errors
///
/// If sums are not in registers.
fn inner_loops() -> Result<(), String> {
    let file = std::path::absolute(target().join("xtask/kernels-aarch64.s")).map_err(|error| error.to_string())?;
    let mut compile = cargo();
    compile.args(["rustc", "--quiet", "--target", TARGET, "--package", "dreamframe-kernels"]);
    // In a folder of its own: the flags change the names of all functions.
    compile.arg("--target-dir").arg(target().join("xtask/cross"));
    compile.args(["--", "-Csymbol-mangling-version=v0", "--emit"]).arg(format!("asm={}", file.display()));
    succeed(&mut compile)?;
    let assembly = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    loops::table(&assembly).map(|table| eprint!("{table}"))
}

/// Makes a picture of the bundled clip with the portable kernels, here and emulated.
///
/// # Errors
///
/// If the pictures differ, or one cannot be made.
fn same_picture() -> Result<(), String> {
    let made = |name: &str, mut program: Command| {
        let folder = target().join("xtask/cross").join(name);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        program.args(["demo", "--frames", "1", "--size", "64", "--allow-any-size", "--out"]).arg(&folder);
        succeed(program.env("DREAMFRAME_CPU", "portable"))?;
        let picture = folder.join("demo.png");
        std::fs::read(&picture).map_err(|error| format!("{}: {error}", picture.display()))
    };
    let mut native = cargo();
    native.args(["run", "--quiet", "--package", "dreamframe-server", "--"]);
    if made("native", native)? != made("aarch64", emulated("dreamframe", ALL_LEVELS))? {
        return Err(format!("the pictures in {} differ", target().join("xtask/cross").display()));
    }
    Ok(())
}

/// Runs the program's commands that say what it is.
///
/// # Errors
///
/// If one fails, or finds another level than the emulated processor has.
fn program() -> Result<(), String> {
    output(emulated("dreamframe", ALL_LEVELS).arg("--version"))?;
    for (processor, level) in PROCESSORS {
        let facts = output(emulated("dreamframe", processor).args(["doctor", "--json"]))?;
        if !facts.contains(&format!("\"kernels\":\"{level}\"")) {
            return Err(format!("doctor on {processor}: got {facts}, expected the kernels {level}"));
        }
    }
    Ok(())
}

/// A program that was built for the target, on an emulated processor.
fn emulated(name: &str, processor: &str) -> Command {
    let [emulator, options @ ..] = emulator(processor);
    let mut command = Command::new(emulator);
    command.args(options).arg(target().join(TARGET).join("debug").join(name));
    command
}
