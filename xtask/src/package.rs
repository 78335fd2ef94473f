//! The archives with the C and C++ library: created, checked for size and contents, and used on their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::archive;
use crate::install::{self, VERSION, Wanted};
use crate::libraries::System;
use crate::report::Outcome;
use crate::suite::Context;
use crate::tools::{output, succeed, target, works};

/// An archive: libraries with some features of the C interface, and everything that a host's build needs.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The first part of its file name.
    name: &'static str,
    /// The features of the C interface, comma-separated.
    features: &'static str,
    /// Maximum size of the stripped shared library in bytes, including 8 MB of embedded files, mostly the demo model.
    max_shared: u64,
    /// The system libraries that the shared library may need in addition to [`MAY_NEED`].
    may_need: &'static [&'static str],
    /// The working folder.
    folder: &'static str,
}

/// For hosts that load models from folders: without networks of processors, downloads, and WHIP and WHEP.
pub(crate) const SMALL: Archive = Archive {
    name: "dreamframe",
    features: "",
    // 4 % more than the library had when this was set, 18.20 MB: 9.7 MB of embedded files (9.1 MB of them the demo model
    // with its ControlNets, LoRA and IP-Adapter), 6.1 MB of code, 0.6 MB of constants, and 1.7 MB that the loader and
    // unwinding read. Of the code, 0.25 MB are kernels of all levels, 0.45 MB resize frames, and 0.55 MB are the library
    // of the tokenizer with its regular expressions.
    max_shared: 19_000_000,
    may_need: &[],
    folder: "target/package",
};

/// With everything; 7 MB of the shared library are networks.
pub(crate) const FULL: Archive = Archive {
    name: "dreamframe-full",
    features: "hub,pose,safety,segmentation,transport",
    max_shared: 34_000_000,
    // A codec is C++.
    may_need: &["libstdc++.so.6"],
    folder: "target/package-full",
};

/// The system libraries that the shared library may need.
const MAY_NEED: [&str; 5] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// The prefix of all exported symbols.
const PREFIX: &str = "dreamframe_";

/// Creates an archive and unpacks it: the other steps check what was unpacked only.
pub(crate) fn make(context: &mut Context, archive: &Archive) -> Outcome {
    let name = format!("{}-{VERSION}-{}-{}", archive.name, std::env::consts::ARCH, std::env::consts::OS);
    let made = pack(archive, &name)
        .and_then(|folder| std::path::absolute(&folder).map_err(|error| format!("{}: {error}", folder.display())));
    made.map(|folder| drop(context.packages.insert(archive.name, folder))).into()
}

/// Runs a step on the folder of an unpacked archive.
pub(crate) fn with(context: &Context, archive: &Archive, step: impl FnOnce(&Path) -> Outcome) -> Outcome {
    match context.packages.get(archive.name) {
        Some(folder) => step(folder),
        None => Outcome::NotRun("no archive".into()),
    }
}

/// Returns the working folder of the archive that was unpacked to `folder`.
fn work(folder: &Path) -> &Path {
    folder.ancestors().nth(2).unwrap_or(folder)
}

/// Returns the folder of the libraries of an installation.
pub(crate) fn libraries(folder: &Path) -> PathBuf {
    folder.join("lib")
}

fn if_installed(tool: &str, check: impl FnOnce() -> Result<(), String>) -> Outcome {
    if works(Command::new(tool).arg("--version")) { check().into() } else { Outcome::NotRun(format!("no {tool}")) }
}

/// Installs into a folder, packs it, and unpacks it elsewhere; returns the folder of the latter.
fn pack(wanted: &Archive, name: &str) -> Result<PathBuf, String> {
    let work = Path::new(wanted.folder);
    let _ = fs::remove_dir_all(work);
    let (packed, unpacked) = (work.join("packed"), work.join("unpacked"));
    let file = archive::path(work, name);
    install::to(&packed.join(name), Wanted { features: wanted.features, target: None })?;
    archive::pack(&file, &packed, name)?;
    fs::remove_dir_all(&packed).map_err(|error| error.to_string())?;
    archive::unpack(&file, &unpacked)?;
    let size = fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?.len();
    eprintln!("   {}: {size} bytes", file.display());
    Ok(unpacked.join(name))
}

/// Compares the size of the shared library with its limit.
pub(crate) fn size(folder: &Path, archive: &Archive) -> Outcome {
    let size = System::of(None).and_then(|system| {
        let shared = folder.join(system.shared());
        fs::metadata(&shared).map(|file| file.len()).map_err(|error| format!("{}: {error}", shared.display()))
    });
    let size = match size {
        Ok(size) => size,
        Err(why) => return Outcome::Failed(why),
    };
    let most = archive.max_shared;
    eprintln!("   shared library {size} bytes, of at most {most}");
    if size > most {
        return Outcome::Failed(format!("size of the shared library: got {size} bytes, expected at most {most}"));
    }
    Outcome::Passed
}

/// Checks the dynamic section of the shared library: which libraries it needs, its SONAME, and that it is stripped.
pub(crate) fn dependencies(folder: &Path, archive: &Archive) -> Outcome {
    on_linux(|| dynamic_section(&libraries(folder).join("libdreamframe.so"), archive))
}

/// Runs a check with tools that read the libraries of Linux alone.
fn on_linux(check: impl FnOnce() -> Result<(), String>) -> Outcome {
    if cfg!(target_os = "linux") { check().into() } else { Outcome::NotRun("reads libraries of Linux alone".into()) }
}

fn dynamic_section(shared: &Path, archive: &Archive) -> Result<(), String> {
    let dynamic = output(Command::new("readelf").arg("-dW").arg(shared))?;
    let entries = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(tag));
        lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
    };
    let needed = entries("(NEEDED)");
    eprintln!("   needs {}", needed.join(", "));
    let allowed = [MAY_NEED.as_slice(), archive.may_need].concat();
    let more: Vec<_> = needed.iter().filter(|name| !allowed.contains(&name.as_str())).cloned().collect();
    if !more.is_empty() {
        let (more, allowed) = (more.join(", "), allowed.join(", "));
        return Err(format!("needed libraries: got {more} as well, expected only {allowed}"));
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
    on_linux(|| export_the_header(&folder.join("include/dreamframe.h"), &libraries(folder).join("libdreamframe.so")))
}

/// Checks the library that tests use against the header in the repository.
pub(crate) fn development_exports() -> Outcome {
    on_linux(|| export_the_header(Path::new("include/dreamframe.h"), &target().join("debug/libdreamframe.so")))
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

/// Compares the features that the library reports with those of the archive.
pub(crate) fn features(folder: &Path, archive: &Archive) -> Outcome {
    reported_features(folder).and_then(|reported| compare_features(&reported, archive)).into()
}

/// Returns the features that the shared library reports to a C program.
fn reported_features(folder: &Path) -> Result<BTreeSet<String>, String> {
    let (source, program) = (work(folder).join("features.c"), work(folder).join("features"));
    let text =
        "#include <dreamframe.h>\n#include <stdio.h>\nint main(void) { return puts(dreamframe_build_info()) < 0; }\n";
    fs::write(&source, text).map_err(|error| format!("{}: {error}", source.display()))?;
    let libraries = libraries(folder);
    let mut compile = Command::new("cc");
    compile.arg("-I").arg(folder.join("include")).arg(&source).arg("-L").arg(&libraries).arg("-ldreamframe");
    succeed(compile.arg("-o").arg(&program))?;
    let program = std::path::absolute(program).map_err(|error| error.to_string())?;
    let info = output(Command::new(program).env("LD_LIBRARY_PATH", libraries))?;
    let info: Value = serde_json::from_str(&info).map_err(|error| format!("build info: {error}"))?;
    let names = info["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}

/// Checks that of the features in which archives differ, the library has those of its own.
fn compare_features(reported: &BTreeSet<String>, archive: &Archive) -> Result<(), String> {
    let expected: BTreeSet<&str> = archive.features.split(',').filter(|name| !name.is_empty()).collect();
    let got: BTreeSet<&str> = FULL.features.split(',').filter(|name| reported.contains(*name)).collect();
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(", ");
    if got != expected {
        return Err(format!("features: got [{}], expected [{}]", list(&got), list(&expected)));
    }
    eprintln!("   {}", reported.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    Ok(())
}

/// Builds the archive's examples with CMake and runs them: C and C++, shared and static.
pub(crate) fn with_cmake(folder: &Path) -> Outcome {
    if_installed("cmake", || cmake(folder))
}

fn cmake(folder: &Path) -> Result<(), String> {
    for language in ["c", "cpp"] {
        for link in ["shared", "static"] {
            let build = work(folder).join(format!("cmake-{language}-{link}"));
            let mut configure = Command::new("cmake");
            configure.arg("-S").arg(examples(folder, language)).arg("-B").arg(&build);
            configure.arg(format!("-DCMAKE_PREFIX_PATH={}", folder.display()));
            configure.arg(format!("-DDREAMFRAME_STATIC={}", if link == "static" { "ON" } else { "OFF" }));
            succeed(configure.arg("-DCMAKE_BUILD_TYPE=Release").stdout(Stdio::null()))?;
            succeed(Command::new("cmake").arg("--build").arg(&build).stdout(Stdio::null()))?;
            say_hello_with(work(folder), &build.join("hello"), None)?;
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
            let program = work(folder).join(format!("{package}-{language}"));
            let mut compile = Command::new(compiler);
            compile.arg(standard).arg(examples(folder, language).join(format!("hello.{language}")));
            succeed(compile.args(flags.split_whitespace()).arg("-o").arg(&program))?;
            say_hello_with(work(folder), &program, Some(&libraries(folder)))?;
        }
    }
    Ok(())
}

fn examples(folder: &Path, language: &str) -> PathBuf {
    folder.join("share/doc/dreamframe/examples").join(language)
}

/// Runs an example, which looks for the shared library in `libraries`.
fn say_hello_with(work: &Path, program: &Path, libraries: Option<&Path>) -> Result<(), String> {
    // A path with a separator, so that `PATH` is not searched.
    let program = std::path::absolute(program).map_err(|error| error.to_string())?;
    let mut hello = Command::new(program);
    hello.env_remove("LD_LIBRARY_PATH").envs(libraries.map(|libraries| ("LD_LIBRARY_PATH", libraries)));
    say_hello(work, &mut hello)
}

/// Runs the example `hello` with files in `work`; it must write a picture of the demo model's size.
pub(crate) fn say_hello(work: &Path, hello: &mut Command) -> Result<(), String> {
    let (frame, picture) = (work.join("frame.ppm"), work.join("picture.ppm"));
    let _ = fs::remove_file(&picture);
    let pixels: Vec<u8> = (0..96 * 64 * 3u32).map(|index| (index / 73) as u8).collect();
    fs::write(&frame, [b"P6\n96 64\n255\n".as_slice(), &pixels].concat()).map_err(|error| error.to_string())?;
    succeed(hello.arg(&frame).arg(&picture))?;
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
    fn libraries_have_the_features_of_their_archive_and_no_others() {
        let of = |names: &str| names.split(',').map(str::to_owned).collect::<BTreeSet<String>>();
        let (small, full) =
            (of("demo-model,edges"), of("demo-model,edges,hub,pose,safety,segmentation,transport,whep"));
        assert_eq!(compare_features(&small, &SMALL), Ok(()));
        assert_eq!(compare_features(&full, &FULL), Ok(()));
        let without_pose = of("demo-model,hub,safety,segmentation,transport");
        let error = compare_features(&without_pose, &FULL).unwrap_err();
        assert!(
            error.starts_with("features: got [hub, safety, segmentation, transport], expected [hub, pose"),
            "{error}"
        );
        assert!(compare_features(&full, &SMALL).is_err());
    }

    #[test]
    fn features_of_archives_are_those_of_the_c_interface() {
        let manifest = fs::read_to_string(crate::tools::root().join("ffi/Cargo.toml")).unwrap();
        let (_, features) = manifest.split_once("[features]").unwrap();
        let features = features.split_once("\n[").unwrap().0;
        for name in FULL.features.split(',') {
            assert!(features.contains(&format!("\n{name} = ")), "{name}");
        }
    }

    #[test]
    fn archives_have_folders_and_names_of_their_own() {
        assert_ne!((SMALL.name, SMALL.folder), (FULL.name, FULL.folder));
        let folder = Path::new(FULL.folder).join("unpacked").join(FULL.name);
        assert_eq!(work(&folder), Path::new(FULL.folder));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let text = "Name: GLIBC_2.9  Flags\n Name: GLIBC_2.34 Flags\n Name: GLIBC_2.2.5 Flags";
        assert_eq!(newest_glibc(text), "asks for glibc 2.34");
    }
}
