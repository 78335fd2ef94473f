//! The stages of the Containerfile, run step by step in bare Debian roots: for machines that have neither podman nor
//! docker. Needs root, debootstrap, and the network for Debian's packages.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::install::VERSION;
use crate::report::Outcome;
use crate::tools::{self, output, succeed, target, works};

const CONTAINERFILE: &str = "deploy/Containerfile";
const IGNORED: &str = ".dockerignore";
/// The release of Debian that the base images are made of.
const DEBIAN: &str = "bookworm";
/// What the image with Rust has in addition to the compiler, as far as builds use it.
const COMPILERS: &str = "g++ gcc git libc6-dev make pkg-config";
/// The home of cargo in the image with Rust, relative to its root.
const CARGO_HOME: &str = "usr/local/cargo";
/// Where this machine's compiler is visible in a root.
const RUST: &str = "usr/local/rust";
/// The unit of systemd that the last step checks.
const UNIT: &str = "deploy/dreamframe.service";

/// An instruction of a Containerfile, with continued lines joined.
#[derive(Debug, PartialEq, Eq)]
struct Instruction {
    name: String,
    rest: String,
}

/// Reads the instructions, without comments.
fn instructions(text: &str) -> Vec<Instruction> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let text = lines.join("\n").replace("\\\n", " ");
    let read = |line: &str| {
        let (name, rest) = line.trim().split_once(' ')?;
        Some(Instruction { name: name.to_owned(), rest: rest.split_whitespace().collect::<Vec<_>>().join(" ") })
    };
    text.lines().filter_map(read).collect()
}

/// A stage of a build: a root and how its commands run.
#[derive(Debug, Clone)]
struct Stage {
    name: String,
    root: PathBuf,
    /// The working folder of commands, relative to the root.
    folder: String,
    user: Option<String>,
    /// The command line of the program, from `ENTRYPOINT`.
    program: Vec<String>,
}

impl Stage {
    /// Returns the path on this machine of `path` in the stage.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Returns the command that runs `script` in the root, in mounts and processes of its own: nothing outlives it.
    fn command(&self, script: &str) -> Result<Command, String> {
        const ENTER: &str = "set -e; root=$1; mount -t proc proc $root/proc; \
            if [ -d $root/usr/local/rust ]; then mount --bind $2 $root/usr/local/rust; \
            mount --bind $3 $root/usr/local/cargo/registry; fi; shift 3; exec chroot \"$@\"";
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, "sh"]);
        command.arg(&self.root).arg(sysroot.trim()).arg(registry()?);
        if let Some(user) = &self.user {
            command.args(["--userspec", user]);
        }
        command.arg(&self.root).args(["/bin/sh", "-c", &format!("cd /{} && {script}", self.folder)]);
        command.env_clear().env("CARGO_HOME", format!("/{CARGO_HOME}")).env("DEBIAN_FRONTEND", "noninteractive");
        command.env("PATH", format!("/{RUST}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        // Machines behind a proxy have its address and certificate in variables.
        for name in ["http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        Ok(command)
    }

    fn run(&self, script: &str) -> Result<(), String> {
        succeed(&mut self.command(script)?)
    }
}

/// Returns this machine's folder of downloaded packages, so that a build need not download them again.
fn registry() -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.map(|home| home.join("registry")).ok_or_else(|| "HOME: not set, expected a folder with .cargo".into())
}

/// Returns the working folder of all roots.
fn work() -> PathBuf {
    target().join("container")
}

/// Runs all instructions of the Containerfile.
pub(crate) fn stages() -> Outcome {
    if !cfg!(target_os = "linux") || !works(Command::new("debootstrap").arg("--version")) {
        return Outcome::NotRun("no debootstrap".into());
    }
    if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() != "0") {
        return Outcome::NotRun("needs root, for roots of their own".into());
    }
    run_all().into()
}

fn run_all() -> Result<(), String> {
    let text = fs::read_to_string(CONTAINERFILE).map_err(|error| format!("{CONTAINERFILE}: {error}"))?;
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions(&text) {
        eprintln!("   {} {}", instruction.name, instruction.rest);
        if instruction.name == "FROM" {
            stages.push(begin(&instruction.rest)?);
        } else if instruction.name != "ARG" {
            follow(&mut stages, &instruction)?;
        }
    }
    let last = stages.last().ok_or_else(|| format!("{CONTAINERFILE}: got no stage, expected one"))?;
    check_program(last)
}

/// Makes the root of a stage from `image`, which may have the name of the stage behind it.
fn begin(image: &str) -> Result<Stage, String> {
    let (image, name) = image.split_once(" AS ").unwrap_or((image, "final"));
    let debian = work().join(DEBIAN);
    if !debian.join("etc/debian_version").is_file() {
        let _ = fs::remove_dir_all(&debian);
        fs::create_dir_all(&debian).map_err(|error| format!("{}: {error}", debian.display()))?;
        succeed(Command::new("debootstrap").args(["--variant=minbase", DEBIAN]).arg(&debian).stdout(Stdio::null()))?;
    }
    let root = work().join(name);
    let _ = fs::remove_dir_all(&root);
    succeed(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&debian).arg(&root))?;
    let root = std::path::absolute(root).map_err(|error| error.to_string())?;
    for file in ["etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"] {
        let to = root.join(file);
        fs::create_dir_all(to.parent().unwrap_or(&root))
            .and_then(|()| fs::copy(Path::new("/").join(file), &to))
            .map_err(|error| format!("{}: {error}", to.display()))?;
    }
    let stage = Stage { name: name.into(), root, folder: String::new(), user: None, program: Vec::new() };
    match image {
        "${RUST_IMAGE}" => {
            for folder in [RUST, &format!("{CARGO_HOME}/registry")] {
                fs::create_dir_all(stage.at(folder)).map_err(|error| format!("{folder}: {error}"))?;
            }
            stage.run(&format!("apt-get -qq update && apt-get -qq install -y --no-install-recommends {COMPILERS}"))?;
            Ok(stage)
        }
        "${DEBIAN_IMAGE}" => Ok(stage),
        other => Err(format!("FROM: got {other}, expected ${{RUST_IMAGE}} or ${{DEBIAN_IMAGE}}")),
    }
}

/// Follows an instruction in the last of `stages`.
fn follow(stages: &mut [Stage], Instruction { name, rest }: &Instruction) -> Result<(), String> {
    let (stage, before) = stages.split_last_mut().ok_or_else(|| format!("{name}: got no stage before it"))?;
    match name.as_str() {
        "RUN" => stage.run(rest),
        "WORKDIR" => {
            rest.trim_start_matches('/').clone_into(&mut stage.folder);
            fs::create_dir_all(stage.at(rest)).map_err(|error| format!("{rest}: {error}"))
        }
        "USER" => {
            stage.user = Some(rest.clone());
            Ok(())
        }
        "COPY" => copy(stage, before, rest),
        "ENTRYPOINT" => {
            stage.program = serde_json::from_str(rest).map_err(|error| format!("ENTRYPOINT: {error}"))?;
            Ok(())
        }
        // They describe the image to those who run it.
        "CMD" | "EXPOSE" => Ok(()),
        other => Err(format!("instruction: got {other}, expected one that this step follows")),
    }
}

/// Copies the repository's files, or a file of a stage in `before`.
fn copy(stage: &Stage, before: &[Stage], rest: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("COPY {rest}: {error}");
    match rest.split(' ').collect::<Vec<_>>().as_slice() {
        [".", "."] => {
            let ignored = fs::read_to_string(IGNORED).map_err(|error| format!("{IGNORED}: {error}"))?;
            let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
            for file in tools::files()?.iter().filter(|file| !ignored.iter().any(|folder| file.starts_with(folder))) {
                let to = stage.at(&stage.folder).join(file);
                fs::create_dir_all(to.parent().unwrap_or(&to)).map_err(failed)?;
                fs::copy(file, &to).map_err(failed)?;
            }
            Ok(())
        }
        [from, path, to] if from.starts_with("--from=") => {
            let source = before.iter().find(|stage| from.ends_with(&format!("={}", stage.name)));
            let source = source.ok_or_else(|| format!("COPY {rest}: no such stage"))?;
            fs::copy(source.at(path), stage.at(to)).map(drop).map_err(failed)
        }
        other => Err(format!("COPY: got {other:?}, expected `. .` or a file of a stage")),
    }
}

/// Runs the program as the image does: its version, and a server that answers.
fn check_program(stage: &Stage) -> Result<(), String> {
    let program = stage.program.join(" ");
    let version = output(&mut stage.command(&format!("exec {program} --version"))?)?;
    if version.split_whitespace().last() != Some(VERSION) {
        return Err(format!("version: got {version:?}, expected {VERSION}"));
    }
    let mut server = stage.command(&format!("exec {program} serve --bind 127.0.0.1:0 --rtmp off --json"))?;
    let mut server = server.stdout(Stdio::piped()).spawn().map_err(|error| format!("serve: {error}"))?;
    let health = server.stdout.take().ok_or_else(|| "serve: no standard output".to_owned()).and_then(|lines| {
        let mut line = String::new();
        BufReader::new(lines).read_line(&mut line).map_err(|error| format!("serve: {error}"))?;
        let event: Value = serde_json::from_str(&line).map_err(|error| format!("serve printed {line:?}: {error}"))?;
        health(event["url"].as_str().unwrap_or_default())
    });
    let _ = server.kill();
    let _ = server.wait();
    health
}

/// Requires that the server at `url` is healthy.
fn health(url: &str) -> Result<(), String> {
    let address = url.trim_start_matches("http://");
    let failed = |error: std::io::Error| format!("{url}/health: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.contains(" 200 ") { Ok(()) } else { Err(format!("{url}/health: got {status:?}, expected status 200")) }
}

/// Lets systemd check its unit, in the root of the last stage with systemd installed.
pub(crate) fn unit() -> Outcome {
    let root = work().join("final");
    if !root.join("usr/local/bin/dreamframe").is_file() {
        return Outcome::NotRun("no root with the program".into());
    }
    let check = || {
        let root = std::path::absolute(&root).map_err(|error| error.to_string())?;
        let stage = Stage { name: "final".into(), root, folder: String::new(), user: None, program: Vec::new() };
        stage.run("apt-get -qq update && apt-get -qq install -y --no-install-recommends systemd >/dev/null")?;
        let place = stage.at("etc/systemd/system/dreamframe.service");
        fs::copy(UNIT, &place).map_err(|error| format!("{}: {error}", place.display()))?;
        stage.run("systemd-analyze verify /etc/systemd/system/dreamframe.service")
    };
    Outcome::from(check())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_are_one_instruction_and_comments_none() {
        let text = "# A comment.\nARG A\nRUN one \\\n    && two\nCMD [\"serve\"]\n";
        let read = instructions(text);
        let pairs: Vec<(&str, &str)> = read.iter().map(|i| (i.name.as_str(), i.rest.as_str())).collect();
        assert_eq!(pairs, [("ARG", "A"), ("RUN", "one && two"), ("CMD", "[\"serve\"]")]);
    }

    #[test]
    fn every_instruction_of_the_containerfile_is_followed() {
        let text = fs::read_to_string(tools::root().join(CONTAINERFILE)).unwrap();
        for Instruction { name, rest } in instructions(&text) {
            let is_known = ["ARG", "FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD"];
            assert!(is_known.contains(&name.as_str()), "{name} {rest}");
        }
    }
}
