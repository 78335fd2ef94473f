//! Configs of well-known checkpoints, for benchmarks of networks of their size with random weights.
//!
//! They have only the fields that differ from the defaults, mostly sizes.

/// The configs of one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// Its name.
    pub name: &'static str,
    /// The UNet's `config.json`.
    pub unet: &'static str,
    /// The text encoders' `config.json`, in order.
    pub text_encoders: &'static [&'static str],
    /// The autoencoder's `config.json`: the tiny one that streams use.
    pub autoencoder: &'static str,
}

/// Returns the checkpoint called `name`, if it is known.
pub fn known_model(name: &str) -> Option<&'static KnownModel> {
    KNOWN_MODELS.iter().find(|model| model.name == name)
}

/// All known checkpoints.
pub const KNOWN_MODELS: [KnownModel; 9] = [
    KnownModel { name: "sd-turbo", unet: SD21_UNET, text_encoders: &[OPEN_CLIP_H], autoencoder: TAESD },
    KnownModel { name: "sdxl-turbo", unet: SDXL_UNET, text_encoders: &[CLIP_L, OPEN_CLIP_BIG_G], autoencoder: TAESD },
    KnownModel { name: "ssd-1b", unet: SSD_1B_UNET, text_encoders: &[CLIP_L, OPEN_CLIP_BIG_G], autoencoder: TAESD },
    KnownModel { name: "segmind-vega", unet: VEGA_UNET, text_encoders: &[CLIP_L, OPEN_CLIP_BIG_G], autoencoder: TAESD },
    KnownModel { name: "sdxs", unet: SDXS_UNET, text_encoders: &[OPEN_CLIP_H], autoencoder: TAESD },
    KnownModel { name: "sdxs-dreamshaper", unet: SDXS_DREAMSHAPER_UNET, text_encoders: &[CLIP_L], autoencoder: TAESD },
    KnownModel { name: "bk-sdm-tiny", unet: BK_SDM_TINY_UNET, text_encoders: &[CLIP_L], autoencoder: TAESD },
    KnownModel { name: "sd15", unet: SD15_UNET, text_encoders: &[CLIP_L], autoencoder: TAESD },
    KnownModel { name: "lcm-dreamshaper", unet: LCM_UNET, text_encoders: &[CLIP_L], autoencoder: TAESD },
];

const SD15_UNET: &str = r#"{"cross_attention_dim": 768, "attention_head_dim": 8}"#;

const LCM_UNET: &str = r#"{"cross_attention_dim": 768, "attention_head_dim": 8, "time_cond_proj_dim": 256}"#;

const SD21_UNET: &str =
    r#"{"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": true}"#;

const SDXL_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": true,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816
}"#;

/// Fewer transformer layers than SDXL, none in the middle, and other numbers of them on the way up.
const SSD_1B_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 4],
    "reverse_transformer_layers_per_block": [[4, 4, 10], [2, 1, 1], 1],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": true,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816
}"#;

const VEGA_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1, 2],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "use_linear_projection": true,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816
}"#;

/// SDXS-512-0.9: no self-attention on the highest level.
const SDXS_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "mid_block_type": null,
    "only_cross_attention": [true, false, false],
    "layers_per_block": 1,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20],
    "use_linear_projection": true
}"#;

/// SDXS-512-DreamShaper: no attention on the highest level.
const SDXS_DREAMSHAPER_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "mid_block_type": null,
    "layers_per_block": 1,
    "cross_attention_dim": 768,
    "attention_head_dim": 8
}"#;

const BK_SDM_TINY_UNET: &str = r#"{
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "mid_block_type": null,
    "layers_per_block": 1,
    "cross_attention_dim": 768,
    "attention_head_dim": 8
}"#;

const CLIP_L: &str = r#"{
    "architectures": ["CLIPTextModel"], "hidden_act": "quick_gelu",
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12
}"#;

const OPEN_CLIP_H: &str = r#"{
    "architectures": ["CLIPTextModel"], "hidden_act": "gelu",
    "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23
}"#;

const OPEN_CLIP_BIG_G: &str = r#"{
    "architectures": ["CLIPTextModelWithProjection"], "hidden_act": "gelu", "projection_dim": 1280,
    "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32
}"#;

const TAESD: &str = r#"{"_class_name": "AutoencoderTiny"}"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Autoencoder, ClipTextConfig, ModelFamily, UnetConfig, UnetShape, clip_program, unet_program};
    use crate::net::Program;

    fn parameters(program: &Program) -> usize {
        program.weights().iter().map(|weight| weight.shape.iter().product::<usize>()).sum()
    }

    /// The numbers of parameters that the published files have. Of SSD-1B, Segmind-Vega and SDXS only rounded numbers are
    /// published (1.33 and 0.745 billion, 0.33 and 0.32 billion); theirs are those of diffusers for the same configs.
    #[test]
    fn known_networks_have_as_many_parameters_as_the_published_ones() {
        let published = [
            ("sd-turbo", 865_910_724, vec![340_387_840]),
            ("sdxl-turbo", 2_567_463_684, vec![123_060_480, 694_659_840]),
            ("ssd-1b", 1_331_334_404, vec![123_060_480, 694_659_840]),
            ("segmind-vega", 745_225_604, vec![123_060_480, 694_659_840]),
            ("sdxs", 328_177_284, vec![340_387_840]),
            ("sdxs-dreamshaper", 315_746_244, vec![123_060_480]),
            ("bk-sdm-tiny", 323_384_964, vec![123_060_480]),
            ("sd15", 859_520_964, vec![123_060_480]),
            ("lcm-dreamshaper", 859_602_884, vec![123_060_480]),
        ];
        assert_eq!(
            KNOWN_MODELS.map(|model| model.name).to_vec(),
            published.iter().map(|row| row.0).collect::<Vec<_>>()
        );
        for (name, unet, text_encoders) in published {
            let model = known_model(name).unwrap();
            let config = UnetConfig::from_json(model.unet).unwrap();
            let guidance_embedding = config.time.cond_dim.is_some();
            let shape = UnetShape { guidance_embedding, ..UnetShape::new(2, 64, 64) };
            assert_eq!(parameters(&unet_program(&config, &shape).unwrap()), unet, "{name}");
            let family = ModelFamily::of(&config);
            assert_eq!(family.info().text_encoders, model.text_encoders.len());
            for (text, count) in model.text_encoders.iter().zip(text_encoders) {
                let config = ClipTextConfig::from_json(text).unwrap();
                // The first of two encoders is not asked for its last layer.
                let program = clip_program(&config, 1, 77, crate::models::TextStates::Last).unwrap();
                assert_eq!(parameters(&program), count, "{name}");
            }
        }
        let taesd = Autoencoder::from_json(TAESD).unwrap();
        assert_eq!(taesd.scale(), 8);
        assert_eq!(parameters(&taesd.encoder_program(1, 512, 512).unwrap()), 1_222_532);
        assert_eq!(parameters(&taesd.decoder_program(1, 512, 512).unwrap()), 1_222_531);
    }

    #[test]
    fn families_are_determined_from_their_unets() {
        let family = |name: &str| ModelFamily::of(&UnetConfig::from_json(known_model(name).unwrap().unet).unwrap());
        assert_eq!(family("sd15"), ModelFamily::Sd15);
        assert_eq!(family("bk-sdm-tiny"), ModelFamily::Sd15);
        assert_eq!(family("sdxs-dreamshaper"), ModelFamily::Sd15);
        assert_eq!(family("sd-turbo"), ModelFamily::Sd21);
        assert_eq!(family("sdxs"), ModelFamily::Sd21);
        assert_eq!(family("ssd-1b"), ModelFamily::Sdxl);
        assert_eq!(family("segmind-vega"), ModelFamily::Sdxl);
        assert_eq!(family("sdxl-turbo"), ModelFamily::Sdxl);
        assert_eq!(known_model("sd3"), None);
    }
}
