//! Windows on x86-64: built with MinGW-w64, run under Wine; for Microsoft's linker, only types are checked.
//!
//! Wine is not Windows: times, scheduling, the rules for open files and the drivers of networks are Linux's.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::check::DENY_WARNINGS;
use crate::install::{self, Wanted, copy_as};
use crate::package;
use crate::report::{Outcome, REQUIRE_TOOLS, Report, run as run_command};
use crate::test::SEED;
use crate::tools::{cargo, clippy, output, root, succeed, target, works, workspace};

const TARGET: &str = "x86_64-pc-windows-gnu";
const MICROSOFT: &str = "x86_64-pc-windows-msvc";

/// The compilers, by the names that Rust and the crate `cc` give them.
const C_COMPILER: &str = "x86_64-w64-mingw32-gcc";
const CPP_COMPILER: &str = "x86_64-w64-mingw32-g++";

/// The places of Wine's loader for programs of 64 bits.
const WINE: [&str; 3] = ["/usr/lib/wine/wine64", "wine64", "wine"];

/// Wine before version 9 has no such library, which Rust's standard library needs.
const RANDOM_LIBRARY: &str = "bcryptprimitives.dll";

/// What is preloaded into Wine; see its source.
const PRELOADED: &str = "wine_sockets.so";

/// Libraries of the compiler that programs with C++ need.
const RUNTIME_LIBRARIES: [&str; 3] = ["libstdc++-6.dll", "libgcc_s_seh-1.dll", "libwinpthread-1.dll"];

/// The file of parameters for commands.
const PARAMS: &str = "params.json";

/// Tests that fail under Wine alone, with the reason.
const NOT_UNDER_WINE: [(&str, &str); 6] = [
    ("convert_weights::tests::a_pickled_file_is_converted_to_the_byte", OPEN),
    ("life::a_server_that_is_asked_to_end_does_so_in_five_seconds", NO_CONSOLE),
    ("process::an_interrupted_film_leaves_no_file", NO_CONSOLE),
    ("secrets::no_secret_of_a_whole_session_is_in_the_log", NO_CONSOLE),
    ("state::a_damaged_file_and_one_in_use_are_refused_with_its_name", NO_CONSOLE),
    ("state::streams_come_back_with_keys_tokens_and_parameters_and_deleted_ones_do_not", NO_CONSOLE),
];
const OPEN: &str = "Wine 8 cannot rename a file over one that is open";
const NO_CONSOLE: &str = "Ctrl-Break is sent through a console, which Wine gives no program here";

/// The packages that are tested, always with the same features, so that nothing is built twice.
const PACKAGES: [&str; 5] = [
    "--quiet",
    "--package=dreamframe",
    "--package=dreamframe-ffi",
    "--package=dreamframe-server",
    "--features=dreamframe-ffi/hub,dreamframe-ffi/transport",
];

/// Their unit tests.
const UNITS: [&str; 2] = ["--lib", "--bin=dreamframe"];

/// The tests that start the program: its interface over the network, with publishers and viewers, and its commands.
const PROGRAM_TESTS: [&str; 2] = ["--test=api", "--test=cli"];

/// Runs all steps.
pub(crate) fn run(report: &mut Report) {
    let mut wine = None;
    report.step("Windows: tools", || match Wine::find() {
        Ok(found) => {
            wine = Some(found);
            Outcome::Passed
        }
        Err(why) => Outcome::NotRun(why),
    });
    let Some(wine) = wine else { return };
    report.step("Windows: Wine's folder", || wine.prepare().into());
    report.step("Windows: build", || {
        run_command(wine.cargo("test").args(PACKAGES).args(UNITS).args(PROGRAM_TESTS).arg("--no-run"))
    });
    report.step("Windows: unit tests", || wine.tests(&UNITS));
    report.step("Windows: tests of the server and of its commands", || wine.tests(&PROGRAM_TESTS));
    report.step("Windows: program", || wine.commands().into());
    report.step("Windows: server that is asked to end", || wine.ends_in_order().into());
    report.step("Windows: the same picture as on Linux", || wine.same_picture().into());
    report.step("Windows: C library", || wine.c_library().into());
    report.step("Windows: Python module", || {
        run_command(wine.cargo("build").args(["--quiet", "--package", "dreamframe-python", "--lib"]))
    });
    report.step("Windows: lints for Microsoft's linker", || {
        let mut lint = cargo();
        lint.args([
            "clippy",
            "--quiet",
            "--target",
            MICROSOFT,
            "--package",
            "dreamframe",
            "--package",
            "dreamframe-ffi",
        ]);
        run_command(lint.args(DENY_WARNINGS))
    });
}

/// Wine, and the folders that it uses.
struct Wine {
    loader: &'static str,
    /// The working folder of these steps.
    work: PathBuf,
}

impl Wine {
    /// Looks for all programs.
    ///
    /// # Errors
    ///
    /// What is missing, and how to get it.
    fn find() -> Result<Self, String> {
        for (program, package) in
            [(C_COMPILER, "gcc-mingw-w64-x86-64-posix"), (CPP_COMPILER, "g++-mingw-w64-x86-64-posix")]
        {
            if !works(Command::new(program).arg("--version")) {
                return Err(format!("no {program}; on Debian it is in the package {package}"));
            }
        }
        let loader = WINE.into_iter().find(|loader| works(Command::new(loader).arg("--version")));
        let loader = loader.ok_or("no Wine; on Debian it is in the packages wine and wine64")?;
        super::require_targets(&[TARGET, MICROSOFT])?;
        let work = std::path::absolute(target().join("cross/windows")).map_err(|error| error.to_string())?;
        Ok(Self { loader, work })
    }

    /// Creates the folder of Wine's drives, and that of the libraries.
    fn prepare(&self) -> Result<(), String> {
        fs::create_dir_all(self.libraries()).map_err(|error| format!("{}: {error}", self.libraries().display()))?;
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-shared", "-fPIC", "-o"]).arg(self.libraries().join(PRELOADED));
        succeed(compile.arg(root().join("xtask/src/cross/wine_sockets.c")))?;
        let mut boot = Command::new(self.loader);
        succeed(self.with_environment(boot.args(["wineboot", "--init"])))?;
        for name in RUNTIME_LIBRARIES {
            let found = output(Command::new(CPP_COMPILER).arg(format!("-print-file-name={name}")))?;
            copy_as(Path::new(found.trim()), &self.libraries().join(name))?;
        }
        if self.prefix().join("drive_c/windows/system32").join(RANDOM_LIBRARY).exists() {
            return Ok(());
        }
        let mut compile = Command::new(C_COMPILER);
        compile.args(["-O2", "-shared", "-o"]).arg(self.libraries().join(RANDOM_LIBRARY));
        succeed(compile.arg(root().join("xtask/src/cross/bcryptprimitives.c")).arg("-ladvapi32"))
    }

    fn prefix(&self) -> PathBuf {
        self.work.join("wine")
    }

    fn libraries(&self) -> PathBuf {
        self.work.join("libraries")
    }

    /// Sets the variables with which Wine finds its folders and libraries, and says nothing.
    fn with_environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = format!("Z:{}", self.libraries().display()).replace('/', "\\");
        command.env("WINEPREFIX", self.prefix()).env("WINEPATH", path).env("WINEDEBUG", "-all").env("DISPLAY", "");
        command.env("LD_PRELOAD", self.libraries().join(PRELOADED))
    }

    /// Returns cargo's `subcommand` for Windows, which runs programs under Wine.
    fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo();
        command.args([subcommand, "--target", TARGET]).env(SEED.0, SEED.1);
        command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", self.loader);
        command.envs(clippy().map(|clippy| ("RUSTC_WORKSPACE_WRAPPER", clippy)));
        self.with_environment(&mut command);
        command
    }

    /// Returns a call of a program for Windows.
    fn program(&self, path: &Path) -> Command {
        let mut command = Command::new(self.loader);
        self.with_environment(&mut command).arg(path);
        command
    }

    /// Runs the tests of `targets`, except for those that cannot pass under Wine.
    fn tests(&self, targets: &[&str]) -> Outcome {
        for (name, why) in NOT_UNDER_WINE {
            eprintln!("   without {name}: {why}");
        }
        let mut tests = self.cargo("test");
        // Programs for tests are those of Linux, which those for Windows cannot start.
        tests.env_remove(REQUIRE_TOOLS).args(PACKAGES).args(targets).args(["--no-fail-fast", "--"]);
        run_command(tests.args(NOT_UNDER_WINE.iter().flat_map(|(name, _)| ["--skip", name])))
    }

    /// Returns the folder `name` for results, which is created empty.
    fn results(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.work.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    /// Runs commands of the program that tests have built.
    fn commands(&self) -> Result<(), String> {
        let folder = self.results("commands")?;
        let call = |arguments: &[&str]| succeed(self.dreamframe()?.args(arguments).current_dir(&folder));
        call(&["--version"])?;
        call(&["doctor"])?;
        call(&["demo", "--frames", "3", "--size", "64", "--out", "."])?;
        write_params(&folder)?;
        call(&["process", "demo.mp4", "processed.mp4", "--params", PARAMS])?;
        call(&["bench", "--model", "demo", "--size", "64", "--frames", "3"])?;
        ["demo.mp4", "demo.png", "processed.mp4"].into_iter().try_for_each(|name| is_written(&folder.join(name)))
    }

    /// Starts the server, and asks it to end: Wine turns the signal of Linux into a Ctrl-C.
    fn ends_in_order(&self) -> Result<(), String> {
        let mut server = self.dreamframe()?;
        server.args(["serve", "--bind", "127.0.0.1:0", "--rtmp", "off"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut server = server.spawn().map_err(|error| error.to_string())?;
        let mut line = String::new();
        let read = server.stdout.take().map(|output| BufReader::new(output).read_line(&mut line));
        let asked = succeed(Command::new("kill").args(["-INT", &server.id().to_string()]));
        let status = server.wait().map_err(|error| error.to_string())?;
        asked?;
        if !matches!(read, Some(Ok(_))) || !line.contains("listening") {
            return Err(format!("first line of the server: got {line:?}, expected the event \"listening\""));
        }
        if status.success() { Ok(()) } else { Err(format!("server that was asked to end: got {status}, expected 0")) }
    }

    /// Compares the pictures of a program for Linux and one for Windows, with the kernels that every processor runs.
    fn same_picture(&self) -> Result<(), String> {
        let folder = self.results("pictures")?;
        write_params(&folder)?;
        succeed(workspace("build").args(["--quiet", "--bin", "dreamframe"]))?;
        let here = Command::new(std::path::absolute(target().join("debug/dreamframe")).map_err(|e| e.to_string())?);
        let pictures = [(here, "linux.png"), (self.dreamframe()?, "windows.png")].map(|(mut program, name)| {
            let input = root().join("docs/demo.jpg");
            program.current_dir(&folder).env("DREAMFRAME_CPU", "portable");
            succeed(program.arg("process").arg(input).args([name, "--params", PARAMS, "--executor", "cpu"]))?;
            fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"))
        });
        let [linux, windows] = pictures;
        let (linux, windows) = (linux?, windows?);
        if linux != windows {
            return Err(format!("pictures in {}: got different bytes, expected the same", folder.display()));
        }
        eprintln!("   the same {} bytes", linux.len());
        Ok(())
    }

    /// Installs the C library, and builds and runs an example with it, linked both ways.
    fn c_library(&self) -> Result<(), String> {
        let (prefix, folder) = (self.results("installed")?, self.results("c")?);
        install::to(&prefix, Wanted { features: "", target: Some(TARGET) })?;
        copy_as(&prefix.join("bin/dreamframe.dll"), &folder.join("dreamframe.dll"))?;
        for (package, name) in [("dreamframe", "shared.exe"), ("dreamframe-static", "static.exe")] {
            let mut ask = Command::new("pkg-config");
            // The paths are those of this system, although the libraries are another's.
            ask.args(["--cflags", "--libs", package]).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
            let flags = output(&mut ask)?;
            let mut compile = Command::new(C_COMPILER);
            compile.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"]).arg(folder.join(name));
            let source = prefix.join("share/doc/dreamframe/examples/c/hello.c");
            succeed(compile.arg(source).args(flags.split_whitespace()))?;
            let mut hello = self.program(&folder.join(name));
            package::say_hello(&folder, hello.current_dir(&folder))?;
        }
        Ok(())
    }

    /// Returns a call of the program that tests have built.
    fn dreamframe(&self) -> Result<Command, String> {
        let path = std::path::absolute(target().join(TARGET).join("debug/dreamframe.exe"));
        Ok(self.program(&path.map_err(|error| error.to_string())?))
    }
}

fn write_params(folder: &Path) -> Result<(), String> {
    let params = r#"{"model_id": "demo", "width": 64, "height": 64}"#;
    fs::write(folder.join(PARAMS), params).map_err(|error| format!("{PARAMS}: {error}"))
}

/// Fails unless the file at `path` has some bytes.
fn is_written(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(file) if file.len() > 0 => Ok(()),
        Ok(_) => Err(format!("{}: got an empty file, expected some bytes", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
