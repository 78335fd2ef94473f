//! Packs the files that become part of the binary, since they are most of what it weighs, and compiles the C in front of
//! libvpx where VP8 is asked for.
//!
//! Writes a table of the files, `embedded.rs`, which `load/embedded.rs` includes, where the forms are documented.

use std::io::{self, Write};
use std::path::Path;
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// The files below `models` that each feature brings.
const FILES: [(&str, &[&str]); 6] = [
    ("CLIP_TOKENIZER", &["clip-tokenizer/merges.txt"]),
    (
        "DEMO_MODEL",
        &[
            "dreamframe-tiny/model_index.json",
            "dreamframe-tiny/scheduler/scheduler_config.json",
            "dreamframe-tiny/text_encoder/config.json",
            "dreamframe-tiny/text_encoder/model.safetensors",
            "dreamframe-tiny/tokenizer/merges.txt",
            "dreamframe-tiny/tokenizer/special_tokens_map.json",
            "dreamframe-tiny/tokenizer/tokenizer_config.json",
            "dreamframe-tiny/tokenizer/vocab.json",
            "dreamframe-tiny/unet/config.json",
            "dreamframe-tiny/unet/diffusion_pytorch_model.safetensors",
            "dreamframe-tiny/vae/config.json",
            "dreamframe-tiny/vae/diffusion_pytorch_model.safetensors",
        ],
    ),
    ("EDGES", &["edges/model.safetensors"]),
    ("POSE", &["movenet/model.safetensors"]),
    ("SAFETY", &["nsfw/model.safetensors"]),
    ("SEGMENTATION", &["segmentation/general.safetensors", "segmentation/landscape.safetensors"]),
];

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let (root, out) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "vp8")]
    vp8()?;
    let mut table = String::from("static FILES: &[Embedded] = &[\n");
    for (feature, files) in FILES {
        if env::var_os(format!("CARGO_FEATURE_{feature}")).is_none() {
            continue;
        }
        for file in files {
            let path = Path::new(&root).join("../models").join(file);
            println!("cargo::rerun-if-changed={}", path.display());
            let bytes = fs::read(&path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            let (form, packed) = pack(&bytes)?;
            let place = file.replace('/', "-");
            fs::write(Path::new(&out).join(&place), packed)?;
            let len = bytes.len();
            table += &format!(
                "    Embedded {{ path: {file:?}, len: {len}, form: Form::{form}, packed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{place}\")) }},\n"
            );
        }
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
    let halves = [low, deflated(&high)?].concat();
    let whole = deflated(bytes)?;
    Ok(if halves.len() < whole.len() { ("Halves", halves) } else { ("Deflated", whole) })
}

fn deflated(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}
