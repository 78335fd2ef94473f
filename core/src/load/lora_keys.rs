//! Roles of the tensors of a LoRA file, by the ends of their names.

use super::weights::listed;
use crate::error::{Error, ErrorKind, Result};

/// What a tensor is to its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What a layer's input is multiplied by first: `[rank, in, …]`.
    Down,
    /// Then, of convolutions in three steps: `[rank, rank, side, side]`.
    Middle,
    /// And last: `[out, rank, …]`.
    Up,
    /// One number, which is divided by the rank to give the layer's strength.
    Alpha,
}

/// Ends of names; longer ones before those that they end with.
const ENDS: [(&str, Role); 10] = [
    (".lora_linear_layer.down.weight", Role::Down),
    (".lora_linear_layer.up.weight", Role::Up),
    (".lora.down.weight", Role::Down),
    (".lora.up.weight", Role::Up),
    (".lora_down.weight", Role::Down),
    (".lora_mid.weight", Role::Middle),
    (".lora_up.weight", Role::Up),
    (".down.weight", Role::Down),
    (".up.weight", Role::Up),
    (".alpha", Role::Alpha),
];
/// PEFT's, which may have an adapter's name before `.weight`.
const PEFT: [(&str, Role); 2] = [(".lora_A", Role::Down), (".lora_B", Role::Up)];

/// Parts of names that show another method, each with that method's name.
const OTHER_METHODS: [(&str, &str); 8] = [
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    ("hada_w", "LoHa"),
    ("lokr_w", "LoKr"),
    ("oft_blocks", "OFT"),
    ("oft_diag", "OFT"),
    ("boft_", "BOFT"),
    ("vera_lambda", "VeRA"),
];

/// Returns the layer that a tensor belongs to, and what it is there; `None` for what is no part of a LoRA.
pub(super) fn layer_of(key: &str) -> Option<(&str, Role)> {
    let plain = ENDS.iter().find_map(|&(end, role)| Some((key.strip_suffix(end)?, role)));
    plain.or_else(|| PEFT.iter().find_map(|&(mark, role)| Some((before_peft(key, mark)?, role))))
}

/// Returns what stands before `mark`, where an adapter's name and `.weight` at most come after.
fn before_peft<'a>(key: &'a str, mark: &str) -> Option<&'a str> {
    let (layer, after) = key.rsplit_once(mark)?;
    let adapter = after.strip_suffix(".weight").map(|adapter| adapter.strip_prefix('.').unwrap_or(adapter));
    let is_name = after.is_empty() || adapter.is_some_and(|name| !name.contains('.'));
    (is_name && !layer.is_empty()).then_some(layer)
}

/// Refuses files of methods that are more than a product of two matrices: what is left of them without the rest would be
/// another picture than was trained for.
///
/// # Errors
///
/// `Unsupported`, naming the method and tensors.
pub(super) fn refuse_other_methods(keys: &[&str]) -> Result<()> {
    for (part, method) in OTHER_METHODS {
        let of_it: Vec<&str> = keys.iter().copied().filter(|key| key.contains(part)).collect();
        if !of_it.is_empty() {
            let text = format!(
                "method: got {method}, expected LoRA or LoCon; {} tensors are of that kind: {}",
                of_it.len(),
                listed(&of_it)
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trainer_s_tensors_are_told_apart() {
        for (key, layer, role) in [
            ("unet.a.attn1.processor.to_q_lora.down.weight", "unet.a.attn1.processor.to_q_lora", Role::Down),
            ("text_encoder.a.q_proj.lora_linear_layer.up.weight", "text_encoder.a.q_proj", Role::Up),
            ("unet.a.to_q.lora.up.weight", "unet.a.to_q", Role::Up),
            ("unet.a.to_q.lora_A.weight", "unet.a.to_q", Role::Down),
            ("base_model.model.a.to_q.lora_B.default_0.weight", "base_model.model.a.to_q", Role::Up),
            ("a.to_q.lora_B", "a.to_q", Role::Up),
            ("lora_unet_a_to_q.lora_down.weight", "lora_unet_a_to_q", Role::Down),
            ("lora_unet_a_conv1.lora_mid.weight", "lora_unet_a_conv1", Role::Middle),
            ("lora_unet_a_conv1.alpha", "lora_unet_a_conv1", Role::Alpha),
        ] {
            assert_eq!(layer_of(key), Some((layer, role)), "{key}");
        }
        for nothing in [
            "a.to_q.weight",
            "a.lora_B.bias",
            "a.lora_Az",
            "a.lora_A.one.two.weight",
            ".lora_A.weight",
            "",
            "emb_params",
        ] {
            assert_eq!(layer_of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        for (key, method) in [
            ("lora_unet_a.dora_scale", "DoRA"),
            ("unet.a.lora_magnitude_vector.weight", "DoRA"),
            ("lora_unet_a.hada_w1_a", "LoHa"),
            ("lora_unet_a.lokr_w1", "LoKr"),
        ] {
            let error = refuse_other_methods(&["lora_unet_a.lora_up.weight", key]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(method) && error.to_string().contains(key), "{error}");
        }
        assert!(refuse_other_methods(&["lora_unet_a.lora_up.weight"]).is_ok());
    }
}
