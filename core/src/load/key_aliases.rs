//! Other names of weights in older checkpoints, and tensors that are ignored.

/// A module's current name, and that before diffusers 0.12 renamed the attention of the autoencoder.
const RENAMED: [(&str, &str); 4] =
    [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")];

/// The prefix of all weights of a CLIP text encoder, which some files lack.
const TEXT_PREFIX: &str = "text_model.";

/// Other names under which the weight `name` may be found.
pub(super) fn aliases(name: &str) -> impl Iterator<Item = String> {
    let renamed = RENAMED.iter().filter(|(new, _)| name.contains(new)).map(|(new, old)| name.replacen(new, old, 1));
    let bare = name.strip_prefix(TEXT_PREFIX).map(str::to_owned);
    renamed.chain(bare)
}

/// Returns true if an unused weight is known and harmless: constants that old versions saved.
pub(super) fn is_harmless(name: &str) -> bool {
    name.ends_with("embeddings.position_ids")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_autoencoder_s_attention_has_its_old_names() {
        let old = |name: &str| aliases(name).next();
        let attention = "decoder.mid_block.attentions.0";
        assert_eq!(old(&format!("{attention}.to_out.0.bias")), Some(format!("{attention}.proj_attn.bias")));
        assert_eq!(old(&format!("{attention}.to_q.weight")), Some(format!("{attention}.query.weight")));
        assert_eq!(old("decoder.conv_in.weight"), None);
    }
}
