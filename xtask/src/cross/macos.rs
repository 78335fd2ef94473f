//! macOS on Arm: types of all crates, and the C library, linked by zig. Nothing runs here: no emulator runs programs for
//! macOS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::libraries::System;
use crate::prepare::pip;
use crate::report::{Outcome, Report, run as run_command};
use crate::tools::{cargo, root, succeed, target};

const TARGET: &str = "aarch64-apple-darwin";
const REQUIREMENTS: &str = "xtask/src/cross/macos.txt";

/// The libraries of every Mac that the C library may need.
const MAY_NEED: [&str; 3] = ["/usr/lib/libSystem.B.dylib", "/usr/lib/libiconv.2.dylib", "/usr/lib/libcharset.1.dylib"];

/// Commands in a file of machine code (`mach-o/loader.h`).
const MAGIC: u32 = 0xfeed_facf;
const ID_DYLIB: u32 = 0xd;
const LOAD_DYLIB: u32 = 0xc;
const LOAD_WEAK_DYLIB: u32 = 0x8000_0018;
const REEXPORT_DYLIB: u32 = 0x8000_001f;
/// The size of the header, in bytes; the commands follow it.
const HEADER: usize = 32;

/// Runs all steps.
pub(crate) fn run(report: &mut Report) {
    let mut zig = None;
    report.step("macOS: tools", || match Zig::find() {
        Ok(found) => {
            zig = Some(found);
            Outcome::Passed
        }
        Err(why) => Outcome::NotRun(why),
    });
    let Some(zig) = zig else { return };
    report.step("macOS: types of all crates", || {
        let mut check = zig.cargo("check");
        check.args(["--package", "dreamframe-ffi", "--package", "dreamframe-server", "--package", "dreamframe-python"]);
        run_command(check.args(["--features", "dreamframe-ffi/hub,dreamframe-ffi/transport"]))
    });
    report.step("macOS: C library", || zig.library().into());
    report.step("macOS: its name and what it needs", || zig.check_library().into());
    report.step("macOS: a C program with it", || zig.program().into());
}

/// zig, which has macOS's headers and its linker, and cargo's interface to it.
struct Zig {
    /// The Python of the environment that both are installed in.
    python: PathBuf,
}

impl Zig {
    /// Installs both.
    ///
    /// # Errors
    ///
    /// What is missing.
    fn find() -> Result<Self, String> {
        super::require_targets(&[TARGET])?;
        let python = pip(Path::new("python3"), &[REQUIREMENTS.into()], &root().join("target/tools/zig"))?;
        Ok(Self { python: std::path::absolute(python).map_err(|error| error.to_string())? })
    }

    /// Returns cargo's `subcommand` with zig as compiler of C and as linker.
    fn cargo(&self, subcommand: &str) -> Command {
        let folder = self.python.parent().unwrap_or(&self.python);
        let mut command = Command::new(folder.join("cargo-zigbuild"));
        // The variables that cargo itself needs.
        for (name, value) in cargo().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path)));
        command.envs(path.ok().map(|path| ("PATH", path)));
        command.args([subcommand, "--quiet", "--locked", "--target", TARGET]);
        command
    }

    /// Returns the shared library that [`library`](Self::library) builds.
    fn built() -> PathBuf {
        target().join(TARGET).join("debug/libdreamframe.dylib")
    }

    /// Builds the C library with the arguments of the linker with which it is shipped.
    fn library(&self) -> Result<(), String> {
        let mut build = self.cargo("rustc");
        build.args(["--package", "dreamframe-ffi", "--lib", "--"]);
        let arguments = System::MacOs.link_arguments();
        succeed(build.args(arguments.iter().flat_map(|argument| ["-C".into(), format!("link-arg={argument}")])))
    }

    /// Checks by which name programs load the library, and which libraries it loads.
    fn check_library(&self) -> Result<(), String> {
        let path = Self::built();
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let loads = dylibs(&bytes).ok_or_else(|| format!("{}: got other bytes, expected Mach-O", path.display()))?;
        let expected = format!("@rpath/{}", System::MacOs.binary_interface());
        for (command, name) in &loads {
            eprintln!("   {} {name}", if *command == ID_DYLIB { "is" } else { "needs" });
            if *command == ID_DYLIB && *name != expected {
                return Err(format!("install name: got {name}, expected {expected}"));
            }
            if *command != ID_DYLIB && !MAY_NEED.contains(&name.as_str()) {
                return Err(format!("needed libraries: got {name}, expected only {}", MAY_NEED.join(", ")));
            }
        }
        if loads.iter().any(|(command, _)| *command == ID_DYLIB) {
            Ok(())
        } else {
            Err("install name: got none".into())
        }
    }

    /// Compiles the first example in C, and links it with the library.
    fn program(&self) -> Result<(), String> {
        let library = Self::built();
        let mut compile = Command::new(&self.python);
        compile.args([
            "-m",
            "ziglang",
            "cc",
            "-target",
            "aarch64-macos",
            "-std=c11",
            "-Wall",
            "-Werror",
            "-I",
            "include",
        ]);
        compile.arg("examples/c/hello.c").arg("-L").arg(library.parent().unwrap_or(&library));
        succeed(
            compile.args(["-ldreamframe", "-Wl,-rpath,@executable_path", "-o"]).arg(library.with_file_name("hello")),
        )
    }
}

/// Returns the commands of a file of machine code that name a dynamic library, with its name; `None` if it is not such
/// a file for processors of 64 bits.
fn dylibs(bytes: &[u8]) -> Option<Vec<(u32, String)>> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if number(0)? != MAGIC {
        return None;
    }
    let (mut at, mut found) = (HEADER, Vec::new());
    for _ in 0..number(16)? {
        let (command, length) = (number(at)?, usize::try_from(number(at + 4)?).ok()?);
        if matches!(command, ID_DYLIB | LOAD_DYLIB | LOAD_WEAK_DYLIB | REEXPORT_DYLIB) {
            let start = at + usize::try_from(number(at + 8)?).ok()?;
            let name = bytes.get(start..at + length)?.split(|&byte| byte == 0).next()?;
            found.push((command, String::from_utf8_lossy(name).into_owned()));
        }
        at += length;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_libraries_are_read_from_the_commands_of_a_file() {
        let mut file = [MAGIC, 0, 0, 0, 2, 0, 0, 0].map(u32::to_le_bytes).concat();
        file.extend([0x19, 16, 7, 7].map(u32::to_le_bytes).concat());
        file.extend([ID_DYLIB, 40, 24, 0, 0, 0].map(u32::to_le_bytes).concat());
        file.extend(b"@rpath/a.dylib\0\0");
        assert_eq!(dylibs(&file), Some(vec![(ID_DYLIB, "@rpath/a.dylib".to_owned())]));
        assert_eq!(dylibs(&file[..60]), None);
        assert_eq!(dylibs(b"\x7fELF and more than four bytes"), None);
    }
}
