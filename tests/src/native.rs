//! Programs in C and C++ that use the library as a host does: compiled, linked, run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// Names the folder with the libraries to use, such as that of an installation; they are built where it is not set.
const LIBRARY: &str = "DREAMFRAME_LIBRARY";

/// Likewise, for libraries with the features `hub` and `transport`.
const NETWORK_LIBRARY: &str = "DREAMFRAME_NETWORK_LIBRARY";

/// Where it is set, as CI does, a tool that is missing fails the test instead of skipping it.
pub const REQUIRE_TOOLS: &str = "DREAMFRAME_REQUIRE_TOOLS";

/// Set by `cargo xtask test --full`: slow checks run in all their combinations.
const FULL: &str = "DREAMFRAME_FULL";

/// Returns whether slow checks are to run in all their combinations.
pub fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// Returns the repository's root.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns the folder in which `libdreamframe.so` and `libdreamframe.a` lie.
///
/// # Panics
///
/// If they cannot be built: then nothing else can be tested.
pub fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os(LIBRARY).map_or_else(|| with_network().into(), PathBuf::from))
}

/// Returns the folder of both libraries with the features `hub` and `transport`, which the smaller archive is built without.
///
/// # Panics
///
/// Like [`library`].
pub fn with_network() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os(NETWORK_LIBRARY).map_or_else(build, PathBuf::from))
}

/// Returns the cargo that runs the tests.
///
/// Without what cargo says of this package to its tests, and what makes the harness measure times: some crates are compiled
/// again where that changes.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| of_package(name)) {
        cargo.env_remove(name);
    }
    cargo.env_remove("RUSTC_BOOTSTRAP").current_dir(root()).stdin(Stdio::null());
    cargo
}

/// Builds both libraries; returns their folder.
fn build() -> PathBuf {
    let mut cargo = cargo();
    // With all packages and a test, features are those of a test run of the workspace: only libraries is built.
    cargo.args(["build", "--quiet", "--features", "dreamframe-ffi/hub,dreamframe-ffi/transport"]);
    cargo.args(["--workspace", "--lib", "--test", "integration"]);
    if cfg!(feature = "transport") {
        cargo.args(["--features", "dreamframe-tests/transport"]);
    }
    if dreamframe::FEATURES.contains(&"vp8") {
        cargo.args(["--features", "dreamframe-server/vp8"]);
    }
    run(&mut cargo);
    // A test is in the folder `deps` next to the libraries, and was built with the same profile.
    let test = std::env::current_exe().expect("the system knows this program");
    test.ancestors().nth(2).expect("a test lies in the build folder").to_path_buf()
}

/// Returns the folder of an environment of `cargo xtask prepare`, such as `page`, which is installed if it does not exist.
/// Prints why it cannot be had, as that skips a check.
///
/// # Panics
///
/// If it cannot be had, and the environment asks for every check (`DREAMFRAME_REQUIRE_TOOLS`).
#[allow(clippy::print_stdout, reason = "a skipped test prints the reason")]
pub fn packages(name: &str) -> Option<PathBuf> {
    let output = cargo().args(["xtask", "prepare", name]).output();
    let failure = match output {
        Ok(output) if output.status.success() => return Some(root().join("target/tools").join(name)),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(std::env::var_os(REQUIRE_TOOLS).is_none(), "{name}: {failure}");
    println!("skipped: {name}: {failure}");
    None
}

/// Returns whether `program` is available; prints a note if not, since that skips a check.
///
/// # Panics
///
/// If it does not, and the environment asks for every check (`DREAMFRAME_REQUIRE_TOOLS`).
#[allow(clippy::print_stdout, reason = "reports skipped checks in the output of the test")]
pub fn has_tool(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    assert!(found || std::env::var_os(REQUIRE_TOOLS).is_none(), "{program} is missing");
    if !found {
        println!("skipped: {program} is missing");
    }
    found
}

/// Returns the place of a program that [runs here](has_tool), for those who do not look along the path themselves.
pub fn tool_path(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").filter(|_| has_tool(program))?;
    std::env::split_paths(&paths).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Which of the two libraries a program is linked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The shared one; [`program`] finds it at run time.
    Shared,
    /// The static one, and the system's libraries that it needs.
    Static,
}

/// A call of the C or C++ compiler. Every warning is an error.
#[derive(Debug)]
#[must_use]
pub struct Compiler(Command);

impl Compiler {
    /// Compiles C11.
    pub fn c() -> Self {
        Self::new("cc", "-std=c11")
    }

    /// Compiles C++17.
    pub fn cpp() -> Self {
        Self::new("c++", "-std=c++17")
    }

    fn new(program: &str, standard: &str) -> Self {
        let mut command = Command::new(program);
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]).arg(root().join("include"));
        // For the reports of AddressSanitizer and valgrind; it takes a tenth of the time.
        if is_full() {
            command.arg("-g");
        }
        Self(command)
    }

    /// Adds an argument: a source file, a flag.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Links the library; comes after the sources that use it.
    pub fn link(self, link: Link) -> Self {
        self.link_from(library(), link)
    }

    /// Like [`link`](Self::link), with the libraries in `folder`.
    pub fn link_from(mut self, folder: &Path, link: Link) -> Self {
        match link {
            Link::Shared => self.0.arg("-L").arg(folder).arg("-ldreamframe"),
            Link::Static => self.0.args(quick_linker()).arg(folder.join("libdreamframe.a")),
        };
        // A codec of the feature `transport` is C++, the other one the system's.
        let vp8 = ["-lvpx"].into_iter().filter(|_| dreamframe::FEATURES.contains(&"vp8"));
        self.args(["-lpthread", "-ldl", "-lm", "-lstdc++"]).args(vp8)
    }

    /// Compiles to `path`, and gives it back.
    ///
    /// # Panics
    ///
    /// If the compiler has anything to say.
    pub fn output(mut self, path: impl Into<PathBuf>) -> PathBuf {
        let path = path.into();
        run(self.0.arg("-o").arg(&path));
        path
    }

    /// Compiles without linking or writing anything.
    ///
    /// # Panics
    ///
    /// If the compiler has anything to say.
    pub fn check(mut self) {
        run(self.0.arg("-fsyntax-only"));
    }
}

/// Returns the arguments with which the C compiler links by Rust's own linker, where the toolchain has one: GNU's takes six
/// times as long for the static library of a development build. With [`is_full`], the system's linker is used.
fn quick_linker() -> &'static [OsString] {
    static ARGUMENTS: OnceLock<Vec<OsString>> = OnceLock::new();
    ARGUMENTS.get_or_init(|| {
        if is_full() {
            return Vec::new();
        }
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let libraries =
            rustc.args(["--print", "target-libdir"]).output().map(|output| output.stdout).unwrap_or_default();
        let libraries = PathBuf::from(String::from_utf8_lossy(&libraries).trim_end());
        let linkers = libraries.with_file_name("bin").join("gcc-ld");
        if linkers.join("ld.lld").is_file() {
            let search = [OsStr::new("-B"), linkers.as_os_str()].into_iter().collect();
            vec![search, "-fuse-ld=lld".into()]
        } else {
            Vec::new()
        }
    })
}

/// Starts a command line with `program`, which finds the shared library.
pub fn program(program: impl AsRef<OsStr>) -> Command {
    program_with(library(), program)
}

/// Like [`program`], with the shared library in `folder`.
pub fn program_with(folder: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", folder);
    command
}

/// Runs `command` to its end, and gives what it printed.
///
/// # Panics
///
/// If it cannot be started, or fails; with all that it printed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
