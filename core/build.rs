//! Packs the files that become part of the binary, since they are most of what it weighs, and compiles the C in front of
//! libvpx where VP8 is asked for.
//!
//! Writes a table of the files, `embedded.rs`, which `load/embedded.rs` includes, where the forms are documented.

use std::io::{self, Write};
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Files with their paths.
type Files = &'static [(&'static str, &'static [u8])];

/// The files of the enabled features.
fn files() -> Vec<Files> {
    vec![
        #[cfg(feature = "clip-tokenizer")]
        dreamframe_networks::CLIP_TOKENIZER,
        #[cfg(feature = "demo-model")]
        dreamframe_demo_model::FILES,
        #[cfg(feature = "edges")]
        dreamframe_networks::EDGES,
        #[cfg(feature = "pose")]
        dreamframe_networks::POSE,
        #[cfg(feature = "safety")]
        dreamframe_networks::SAFETY,
        #[cfg(feature = "segmentation")]
        dreamframe_networks::SEGMENTATION,
    ]
}

fn main() -> io::Result<()> {
    let out = env::var("OUT_DIR").map_err(|error| io::Error::other(format!("OUT_DIR: {error}")))?;
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "vp8")]
    vp8()?;
    let mut table = String::from("static FILES: &[Embedded] = &[\n");
    for (path, bytes) in files().into_iter().flatten() {
        let (form, packed) = pack(bytes)?;
        let place = path.replace('/', "-");
        fs::write(Path::new(&out).join(&place), packed)?;
        let len = bytes.len();
        table += &format!(
            "    Embedded {{ path: {path:?}, len: {len}, form: Form::{form}, packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{place}\")) }},\n"
        );
    }
    fs::write(Path::new(&out).join("embedded.rs"), table + "];\n")
}

/// Compiles the layer between this crate and the system's libvpx, and links both.
#[cfg(feature = "vp8")]
fn vp8() -> io::Result<()> {
    const SHIM: &str = "src/transport/codec/vp8/shim.c";
    println!("cargo::rerun-if-changed={SHIM}");
    let needs = |error| io::Error::other(format!("feature vp8 needs libvpx (Debian: libvpx-dev): {error}"));
    let vpx = pkg_config::Config::new().atleast_version("1.8").cargo_metadata(false).probe("vpx").map_err(needs)?;
    cc::Build::new().file(SHIM).includes(&vpx.include_paths).std("c11").warnings(true).compile("dreamframe_vp8");
    // After what needs it, since a linker looks for what is missing so far.
    for folder in &vpx.link_paths {
        println!("cargo::rustc-link-search=native={}", folder.display());
    }
    for library in &vpx.libs {
        println!("cargo::rustc-link-lib={library}");
    }
    Ok(())
}

/// The smallest form of a file, and the name of that form.
fn pack(bytes: &[u8]) -> io::Result<(&'static str, Vec<u8>)> {
    let every_second = |first: usize| bytes.iter().skip(first).step_by(2).copied().collect::<Vec<u8>>();
    let (low, high) = (every_second(0), every_second(1));
    let (low, high, whole) = (deflated(&low)?, deflated(&high)?, deflated(bytes)?);
    let length = u32::try_from(low.len()).map_err(io::Error::other)?.to_le_bytes();
    let halves = [&length[..], &low, &high].concat();
    Ok(if halves.len() < whole.len() { ("Halves", halves) } else { ("Deflated", whole) })
}

fn deflated(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
