//! The archive with the C and C++ library: created, checked for size and contents, and used on its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::install::{self, VERSION};
use crate::report::Outcome;
use crate::suite::Context;
use crate::tools::{output, succeed, target, works};

/// Maximum size of the stripped shared library in bytes, including 8 MB of data, most of it the demo model.
const MAX_SHARED: u64 = 15_000_000;

/// The system libraries that the shared library may need.
const MAY_NEED: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

/// The prefix of all exported symbols.
const PREFIX: &str = "dreamframe_";

/// The working folder.
const FOLDER: &str = "target/package";

/// Creates the archive and unpacks it: the other steps check the archive only.
pub(crate) fn make(context: &mut Context) -> Outcome {
    if !cfg!(target_os = "linux") {
        return Outcome::NotRun("written for Linux only so far".into());
    }
    let name = format!("dreamframe-{VERSION}-{}-linux", std::env::consts::ARCH);
    let archive = Path::new(FOLDER).join(format!("{name}.tar.gz"));
    let folder = Path::new(FOLDER).join("unpacked").join(&name);
    let made = pack(&name, &archive, &folder)
        .and_then(|()| std::path::absolute(&folder).map_err(|error| format!("{}: {error}", folder.display())));
    made.map(|folder| context.package = Some(folder)).into()
}

/// Runs a step on the folder of the unpacked archive.
pub(crate) fn with(context: &Context, step: impl FnOnce(&Path) -> Outcome) -> Outcome {
    match &context.package {
        Some(folder) => step(folder),
        None => Outcome::NotRun("no archive".into()),
    }
}

/// Returns the folder of the libraries of an installation.
pub(crate) fn libraries(folder: &Path) -> PathBuf {
    folder.join("lib")
}

fn if_installed(tool: &str, check: impl FnOnce() -> Result<(), String>) -> Outcome {
    if works(Command::new(tool).arg("--version")) { check().into() } else { Outcome::NotRun(format!("no {tool}")) }
}

/// Installs into a folder, packs it, and unpacks it elsewhere.
fn pack(name: &str, archive: &Path, folder: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(FOLDER);
    let packed = Path::new(FOLDER).join("packed");
    install::to(&packed.join(name), "")?;
    // Reproducible: the same files result in the same bytes.
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"]).arg(archive);
    succeed(pack.arg("-C").arg(&packed).arg(name))?;
    fs::remove_dir_all(&packed).map_err(|error| error.to_string())?;
    let into = folder.parent().unwrap_or(folder);
    fs::create_dir_all(into).map_err(|error| error.to_string())?;
    succeed(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(into))
}

/// Compares the size of the shared library with its limit.
pub(crate) fn size(folder: &Path) -> Outcome {
    let shared = libraries(folder).join("libdreamframe.so");
    let size = match fs::metadata(&shared) {
        Ok(file) => file.len(),
        Err(error) => return Outcome::Failed(format!("{}: {error}", shared.display())),
    };
    eprintln!("   shared library {size} bytes");
    if size > MAX_SHARED {
        return Outcome::Failed(format!("size of the shared library: got {size} bytes, expected at most {MAX_SHARED}"));
    }
    Outcome::Passed
}

/// Checks the dynamic section of the shared library: which libraries it needs, its SONAME, and that it is stripped.
pub(crate) fn dependencies(folder: &Path) -> Outcome {
    dynamic_section(&libraries(folder).join("libdreamframe.so")).into()
}

fn dynamic_section(shared: &Path) -> Result<(), String> {
    let dynamic = output(Command::new("readelf").arg("-dW").arg(shared))?;
    let entries = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(tag));
        lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
    };
    let needed = entries("(NEEDED)");
    eprintln!("   needs {}", needed.join(", "));
    let more: Vec<_> = needed.iter().filter(|name| !MAY_NEED.contains(&name.as_str())).cloned().collect();
    if !more.is_empty() {
        return Err(format!(
            "needed libraries: got {} as well, expected only {}",
            more.join(", "),
            MAY_NEED.join(", ")
        ));
    }
    if !entries("(SONAME)").iter().any(|name| name.starts_with("libdreamframe.so.")) {
        return Err("SONAME: missing, expected one with a version".into());
    }
    if output(Command::new("readelf").arg("-SW").arg(shared))?.contains(".symtab") {
        return Err("symbols: got some, expected a stripped library".into());
    }
    eprintln!("   {}", newest_glibc(&output(Command::new("readelf").arg("-VW").arg(shared))?));
    Ok(())
}

/// Returns the newest version of glibc that the library needs: hosts with an older one cannot load it.
fn newest_glibc(versions: &str) -> String {
    let numbers = versions.split("Name: GLIBC_").skip(1).filter_map(|rest| rest.split_whitespace().next());
    let of = |version: &&str| -> Vec<u32> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
    numbers.max_by_key(of).map_or_else(|| "asks for no version of glibc".into(), |v| format!("asks for glibc {v}"))
}

/// Checks the archive's shared library against the archive's header.
pub(crate) fn exports(folder: &Path) -> Outcome {
    export_the_header(&folder.join("include/dreamframe.h"), &libraries(folder).join("libdreamframe.so")).into()
}

/// Checks the library that tests use against the header in the repository.
pub(crate) fn development_exports() -> Outcome {
    if !cfg!(target_os = "linux") {
        return Outcome::NotRun("written for Linux only so far".into());
    }
    export_the_header(Path::new("include/dreamframe.h"), &target().join("debug/libdreamframe.so")).into()
}

/// Checks that a library exports exactly the functions of the header.
fn export_the_header(header: &Path, library: &Path) -> Result<(), String> {
    let header = fs::read_to_string(header).map_err(|error| format!("{}: {error}", header.display()))?;
    let declared = declared(&header);
    let symbols = output(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library))?;
    let exported: BTreeSet<String> =
        symbols.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    if exported != declared {
        let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "exported and not in the header: [{}]; in the header and not exported: [{}]",
            list(&exported, &declared),
            list(&declared, &exported)
        ));
    }
    eprintln!("   {} functions", exported.len());
    Ok(())
}

/// Returns the functions that `header` declares: names with the prefix before a parenthesis, outside comments and
/// macros.
fn declared(header: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let code = code.join("\n");
    let before_brackets = code.match_indices('(').filter_map(|(at, _)| code.get(..at));
    let names = before_brackets.filter_map(|text| text.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next());
    names.filter(|name| name.starts_with(PREFIX)).map(str::to_owned).collect()
}

/// Builds the archive's examples with CMake and runs them: C and C++, shared and static.
pub(crate) fn with_cmake(folder: &Path) -> Outcome {
    if_installed("cmake", || cmake(folder))
}

fn cmake(folder: &Path) -> Result<(), String> {
    for language in ["c", "cpp"] {
        for link in ["shared", "static"] {
            let build = Path::new(FOLDER).join(format!("cmake-{language}-{link}"));
            let mut configure = Command::new("cmake");
            configure.arg("-S").arg(examples(folder, language)).arg("-B").arg(&build);
            configure.arg(format!("-DCMAKE_PREFIX_PATH={}", folder.display()));
            configure.arg(format!("-DDREAMFRAME_STATIC={}", if link == "static" { "ON" } else { "OFF" }));
            succeed(configure.arg("-DCMAKE_BUILD_TYPE=Release").stdout(Stdio::null()))?;
            succeed(Command::new("cmake").arg("--build").arg(&build).stdout(Stdio::null()))?;
            say_hello(&build.join("hello"), None)?;
        }
    }
    Ok(())
}

/// Builds one of the archive's examples with the flags of pkg-config, in both languages and linked both ways.
pub(crate) fn with_pkg_config(folder: &Path) -> Outcome {
    if_installed("pkg-config", || pkg_config(folder))
}

fn pkg_config(folder: &Path) -> Result<(), String> {
    for (language, compiler, standard) in [("c", "cc", "-std=c11"), ("cpp", "c++", "-std=c++17")] {
        for package in ["dreamframe", "dreamframe-static"] {
            let mut ask = Command::new("pkg-config");
            ask.args(["--cflags", "--libs", package]).env("PKG_CONFIG_PATH", libraries(folder).join("pkgconfig"));
            let flags = output(&mut ask)?;
            let program = Path::new(FOLDER).join(format!("{package}-{language}"));
            let mut compile = Command::new(compiler);
            compile.arg(standard).arg(examples(folder, language).join(format!("hello.{language}")));
            succeed(compile.args(flags.split_whitespace()).arg("-o").arg(&program))?;
            say_hello(&program, Some(&libraries(folder)))?;
        }
    }
    Ok(())
}

fn examples(folder: &Path, language: &str) -> PathBuf {
    folder.join("share/doc/dreamframe/examples").join(language)
}

/// Runs an example, which looks for the shared library in `libraries`; it must write a picture of the demo model's
/// size.
fn say_hello(program: &Path, libraries: Option<&Path>) -> Result<(), String> {
    let (frame, picture) = (Path::new(FOLDER).join("frame.ppm"), Path::new(FOLDER).join("picture.ppm"));
    let _ = fs::remove_file(&picture);
    let pixels: Vec<u8> = (0..96 * 64 * 3u32).map(|index| (index / 73) as u8).collect();
    fs::write(&frame, [b"P6\n96 64\n255\n".as_slice(), &pixels].concat()).map_err(|error| error.to_string())?;
    // A path with a separator, so that `PATH` is not searched.
    let program = std::path::absolute(program).map_err(|error| error.to_string())?;
    let mut hello = Command::new(program);
    hello.arg(&frame).arg(&picture).env_remove("LD_LIBRARY_PATH");
    if let Some(libraries) = libraries {
        hello.env("LD_LIBRARY_PATH", libraries);
    }
    succeed(&mut hello)?;
    let written = fs::read(&picture).map_err(|error| format!("{}: {error}", picture.display()))?;
    if written.len() < 512 * 512 * 3 {
        return Err(format!("picture: got {} bytes, expected those of 512x512 pixels", written.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_except_in_comments_and_macros() {
        let header = "#define DREAMFRAME_INIT(x) dreamframe_macro(x)\n/** see `dreamframe_comment()` */\n\
                      int32_t dreamframe_one(void);\nvoid *dreamframe_two(\n  int a);\ntypedef void (*dreamframe_fn_t)(int);";
        assert_eq!(declared(header), BTreeSet::from(["dreamframe_one".to_owned(), "dreamframe_two".to_owned()]));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = "Name: GLIBC_2.9  Flags\n Name: GLIBC_2.34 Flags\n Name: GLIBC_2.2.5 Flags";
        assert_eq!(newest_glibc(text), "asks for glibc 2.34");
    }
}
