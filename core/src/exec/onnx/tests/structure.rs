//! The graphs of networks of full size: numbers of nodes and transpositions.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::decode::{Node, nodes, operators};
use crate::exec::onnx::dialect::Dialect;
use crate::exec::onnx::emit::{Graphs, emit};
use crate::exec::onnx::proto::ElementType;
use crate::models::config::UnetConfig;
use crate::models::known::known_model;
use crate::models::{
    Autoencoder, ClipTextConfig, ControlNetModelConfig, ControlNetShape, ModelFamily, TEXT_TOKENS, UnetShape,
    clip_program, controlnet_embedding_program, controlnet_program, unet_program,
};
use crate::net::{OpKind, Program, Rate, Shape};

/// The number of nodes of every graph; the test that compares it prints the new table.
const TABLE: &str = include_str!("structure.txt");
/// Sides of the pictures and latents of the networks.
const PICTURE: usize = 512;
const LATENT: usize = PICTURE / 8;
/// The autoencoder of Stable Diffusion 1.5, 2.1 and SDXL.
const AUTOENCODER_KL: &str = r#"{
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]
}"#;
const ROWS: [usize; 2] = [1, 4];
/// Maximum size of a model without its weights, in bytes.
const MAX_MODEL_BYTES: usize = 1 << 20;

fn unet(name: &str, rows: usize, residuals: bool) -> Program {
    let config = UnetConfig::from_json(known_model(name).unwrap().unet).unwrap();
    unet_program(&config, &UnetShape { residuals, ..UnetShape::new(rows, LATENT, LATENT) }).unwrap()
}

/// Returns the networks of Stable Diffusion at full size for `rows` rows.
fn networks(rows: usize) -> Vec<(String, Program)> {
    let mut networks: Vec<(String, Program)> = Vec::new();
    let mut add = |name: &str, program| networks.push((name.to_owned(), program));
    add("sd-turbo UNet", unet("sd-turbo", rows, false));
    add("sdxl-turbo UNet", unet("sdxl-turbo", rows, false));
    add("sd15 UNet with residuals", unet("sd15", rows, true));
    let unet = UnetConfig::from_json(known_model("sd15").unwrap().unet).unwrap();
    let controlnet = ControlNetModelConfig::like(&unet);
    add("sd15 ControlNet", controlnet_program(&controlnet, &ControlNetShape::new(rows, LATENT, LATENT)).unwrap());
    add("sd15 ControlNet embedding", controlnet_embedding_program(&controlnet, 3, PICTURE, PICTURE).unwrap());
    for (name, json) in [("TAESD", known_model("sd15").unwrap().autoencoder), ("AutoencoderKL", AUTOENCODER_KL)] {
        let autoencoder = Autoencoder::from_json(json).unwrap();
        add(&format!("{name} encoder"), autoencoder.encoder_program(rows, PICTURE, PICTURE).unwrap());
        add(&format!("{name} decoder"), autoencoder.decoder_program(rows, PICTURE, PICTURE).unwrap());
    }
    for (name, family) in
        [("sd15", ModelFamily::Sd15), ("sd-turbo", ModelFamily::Sd21), ("sdxl-turbo", ModelFamily::Sdxl)]
    {
        for (i, json) in known_model(name).unwrap().text_encoders.iter().enumerate() {
            let config = ClipTextConfig::from_json(json).unwrap();
            let program = clip_program(&config, rows, TEXT_TOKENS, family.text_states()).unwrap();
            add(&format!("{name} text encoder {}", i + 1), program);
        }
    }
    networks
}

/// Calls `check` with every network, dialect and type.
fn each_graph(check: impl Fn(&str, &Program, Dialect, &Graphs)) {
    for rows in ROWS {
        for (name, program) in networks(rows) {
            for dialect in Dialect::ALL {
                for element in [ElementType::F32, ElementType::F16] {
                    check(
                        &format!("{name}, {rows} rows, {dialect:?}, {element:?}"),
                        &program,
                        dialect,
                        &emit(&program, element, dialect),
                    );
                }
            }
        }
    }
}

fn all_nodes(graphs: &Graphs) -> Vec<Node> {
    graphs.constant.iter().chain([&graphs.frame]).flat_map(|model| nodes(&model.bytes)).collect()
}

fn count(program: &Program, is_counted: impl Fn(&OpKind) -> bool) -> usize {
    program.ops().iter().filter(|op| is_counted(&op.kind)).count()
}

/// Returns the names of the transformers over images: in UNets of one or more blocks, in autoencoders of one attention.
fn transformers(program: &Program) -> Vec<&str> {
    let norms = [".norm.weight", ".group_norm.weight"];
    let names =
        program.weights().iter().filter_map(|weight| norms.iter().find_map(|norm| weight.name.strip_suffix(norm)));
    names.filter(|name| name.contains("attentions.")).collect()
}

/// Returns whether the projections of a transformer are convolutions.
fn has_convolution(program: &Program, transformer: &str) -> bool {
    let name = format!("{transformer}.proj_in.weight");
    program.weights().iter().any(|weight| weight.name == name && weight.shape.len() == 4)
}

/// Returns the number of inputs and outputs of the frame that are images.
fn image_ports(program: &Program) -> usize {
    let is_image = |shape: Shape| shape.pixels() > 1 && shape.c > 1;
    let inputs = program.inputs_at(Rate::Frame).map(|input| input.value);
    let ports = inputs.chain(program.outputs().iter().map(|output| output.value));
    ports.filter(|&value| is_image(program.shape(value))).count()
}

#[test]
fn graphs_have_the_number_of_nodes_in_the_table() {
    let mut table = String::new();
    let rows = ROWS.map(networks);
    for (i, (name, _)) in rows[0].iter().enumerate() {
        for dialect in Dialect::ALL {
            let lines = [0, 1].map(|row| {
                let graphs = emit(&rows[row][i].1, ElementType::F16, dialect);
                let constant = graphs.constant.as_ref().map_or(0, |model| nodes(&model.bytes).len());
                let frame = nodes(&graphs.frame.bytes);
                let operators: Vec<String> =
                    operators(&frame).into_iter().map(|(operator, count)| format!("{operator} {count}")).collect();
                format!("constants {constant}, frame {}: {}", frame.len(), operators.join(", "))
            });
            if lines[0] == lines[1] {
                writeln!(table, "{name}, {dialect:?}: {}", lines[0]).unwrap();
            } else {
                for (rows, line) in ROWS.iter().zip(lines) {
                    writeln!(table, "{name}, {rows} rows, {dialect:?}: {line}").unwrap();
                }
            }
        }
    }
    assert!(table == TABLE, "got\n{table}");
}

#[test]
fn only_token_ids_and_indices_are_cast() {
    each_graph(|name, program, _, graphs| {
        let indices = count(program, |kind| matches!(kind, OpKind::Embed { .. } | OpKind::TakeToken));
        let casts = all_nodes(graphs).iter().filter(|node| node.operator == "Cast").count();
        assert_eq!(casts, indices, "{name}");
    });
}

#[test]
fn a_transformer_transposes_its_image_at_most_twice() {
    each_graph(|name, program, dialect, graphs| {
        let transformers = transformers(program);
        let pairs = match dialect {
            Dialect::Standard | Dialect::Basic => transformers.len(),
            // Group norms are channels-last, the convolutions before and after them are not, nor are those which are
            // projections of transformers.
            Dialect::Cuda => {
                let is_convolved = |name: &&&str| has_convolution(program, name);
                let norms = count(program, |kind| matches!(kind, OpKind::GroupNorm { .. }));
                norms + transformers.iter().filter(is_convolved).count()
            }
        };
        // Those of queries, keys, values and results.
        let attentions = count(program, |kind| matches!(kind, OpKind::Attention { .. }));
        let of_heads = if dialect == Dialect::Basic { 4 * attentions } else { 0 };
        let most = 2 * pairs + image_ports(program) + of_heads;
        let transposes = all_nodes(graphs).iter().filter(|node| node.operator == "Transpose").count();
        assert!(transposes <= most, "{name}: got {transposes}, expected at most {most}");
    });
}

#[test]
fn every_operator_is_one_of_the_dialect() {
    each_graph(|name, _, dialect, graphs| {
        for node in all_nodes(graphs) {
            assert!(dialect.operators().any(|operator| operator == node.operator), "{name}: {}", node.operator);
        }
    });
}

#[test]
fn models_are_small_without_their_weights() {
    each_graph(|name, _, _, graphs| {
        for model in graphs.constant.iter().chain([&graphs.frame]) {
            assert!(model.bytes.len() < MAX_MODEL_BYTES, "{name}: {} bytes", model.bytes.len());
        }
    });
}

#[test]
fn every_node_is_read_and_no_reshaped_tensor_is_reshaped_again() {
    each_graph(|name, _, _, graphs| {
        for model in graphs.constant.iter().chain([&graphs.frame]) {
            let nodes = nodes(&model.bytes);
            let outputs = model.outputs.iter().map(|port| &*port.name);
            let read: HashSet<&str> =
                nodes.iter().flat_map(|node| &node.inputs).map(String::as_str).chain(outputs).collect();
            let reshaped: HashSet<&str> =
                nodes.iter().filter(|node| node.operator == "Reshape").map(|node| &*node.outputs[0]).collect();
            for node in &nodes {
                assert!(node.outputs.iter().all(|output| read.contains(&**output)), "{name}: {node:?} is not read");
                let again = node.operator == "Reshape" && reshaped.contains(&*node.inputs[0]);
                assert!(!again, "{name}: {node:?} reshapes a reshaped tensor");
            }
        }
    });
}
