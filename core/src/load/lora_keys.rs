//! Roles of the tensors of a LoRA file, by the ends of their names.

use super::weights::listed;
use crate::error::{Error, ErrorKind, Result};

/// The role of a tensor in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The first factor: `[rank, in, …]`.
    Down,
    /// The middle factor of convolutions with three: `[rank, rank, side, side]`.
    Middle,
    /// The last factor: `[out, rank, …]`.
    Up,
    /// The alpha: divided by the rank, it is the layer's strength.
    Alpha,
}

/// Suffixes of names; longer ones before their own suffixes.
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

/// Parts of names that identify another method, each with that method's name.
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

/// Returns the layer of a tensor, and its role; `None` if it is not part of a LoRA.
pub(super) fn layer_of(key: &str) -> Option<(&str, Role)> {
    let plain = ENDS.iter().find_map(|&(end, role)| Some((key.strip_suffix(end)?, role)));
    plain.or_else(|| PEFT.iter().find_map(|&(mark, role)| Some((before_peft(key, mark)?, role))))
}

/// Returns the text before `mark`, if only an adapter's name and `.weight` may follow.
fn before_peft<'a>(key: &'a str, mark: &str) -> Option<&'a str> {
    let (layer, after) = key.rsplit_once(mark)?;
    let adapter = after.strip_suffix(".weight").map(|adapter| adapter.strip_prefix('.').unwrap_or(adapter));
    let is_name = after.is_empty() || adapter.is_some_and(|name| !name.contains('.'));
    (is_name && !layer.is_empty()).then_some(layer)
}

/// Rejects files of methods that are more than a product of two matrices: using only a part of them would give another
/// picture than intended.
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
    fn tensor_names_of_all_trainers_are_recognized() {
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
