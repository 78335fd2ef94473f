use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::models::{UnetShape, unet_program};

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    for (text, kind, part) in [
        (r#"{"block_out_channels": [1000000000, 64]}"#, ErrorKind::BadModel, "got 1000000000, expected"),
        (r#"{"block_out_channels": []}"#, ErrorKind::BadModel, "expected a list of 1 to 8 numbers"),
        (r#"{"block_out_channels": [32, 48, 64, 64]}"#, ErrorKind::BadModel, "norm_num_groups"),
        (
            r#"{"attention_head_dim": 7}"#,
            ErrorKind::BadModel,
            "attention_head_dim of the UNet config: got 7, expected heads that divide",
        ),
        (r#"{"num_attention_heads": [3, 3, 3, 3]}"#, ErrorKind::BadModel, "num_attention_heads"),
        (r#"{"layers_per_block": [1, 2]}"#, ErrorKind::BadModel, "layers_per_block"),
        (r#"{"layers_per_block": 1000}"#, ErrorKind::BadModel, "from 1 to 16"),
        (r#"{"down_block_types": ["DownBlock2D"]}"#, ErrorKind::BadModel, "expected 4 entries"),
        (r#"{"up_block_types": ["A", "B", "C", "D"]}"#, ErrorKind::Unsupported, "up_block_types"),
        (r#"{"transformer_layers_per_block": [[1, 2], 1, 1, 1]}"#, ErrorKind::BadModel, "reverse_transformer"),
        (
            r#"{"cross_attention_dim": [8, 8, 8, 9]}"#,
            ErrorKind::Unsupported,
            "cross_attention_dim of the UNet config: got [8,8,8,9]",
        ),
        (
            r#"{"class_embed_type": "timestep"}"#,
            ErrorKind::Unsupported,
            "class_embed_type of the UNet config: got \"timestep\"",
        ),
        (r#"{"time_embedding_type": "fourier"}"#, ErrorKind::Unsupported, "time_embedding_type"),
        (r#"{"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"}"#, ErrorKind::Unsupported, "mid_block_type"),
        (
            r#"{"addition_embed_type": "image"}"#,
            ErrorKind::Unsupported,
            "addition_embed_type of the UNet config: got \"image\"",
        ),
        (r#"{"addition_embed_type": "text_time"}"#, ErrorKind::BadModel, "addition_time_embed_dim"),
        (
            r#"{"conv_in_kernel": 4}"#,
            ErrorKind::BadModel,
            "conv_in_kernel of the UNet config: got 4, expected an odd number",
        ),
        (r#"{"norm_num_groups": 0}"#, ErrorKind::BadModel, "norm_num_groups of the UNet config: got 0"),
        (r#"{"freq_shift": 1e300}"#, ErrorKind::BadModel, "freq_shift"),
        (
            r#"{"time_embedding_dim": 99999999}"#,
            ErrorKind::BadModel,
            "time_embedding_dim of the UNet config: got 99999999",
        ),
    ] {
        let error = UnetConfig::from_json(text).unwrap_err();
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn added_conditions_must_be_wide_enough_for_a_pooled_text() {
    let text = |width: usize| {
        format!(
            r#"{{"addition_embed_type": "text_time", "addition_time_embed_dim": 8,
                 "projection_class_embeddings_input_dim": {width}}}"#
        )
    };
    let error = UnetConfig::from_json(&text(48)).unwrap_err();
    assert!(error.to_string().contains("got 48, expected more than 48"), "{error}");
    let added = UnetConfig::from_json(&text(49)).unwrap().added;
    assert_eq!(added, Some(AddedConfig { time_dim: 8, pooled_dim: 1 }));
}

#[test]
fn only_a_written_null_leaves_the_middle_out() {
    assert!(UnetConfig::from_json("{}").unwrap().mid.is_some());
    assert!(UnetConfig::from_json(r#"{"mid_block_type": null}"#).unwrap().mid.is_none());
    let plain = UnetConfig::from_json(r#"{"mid_block_type": "UNetMidBlock2D"}"#).unwrap().mid.unwrap();
    assert_eq!((plain.resnets, plain.attention), (1, None));
}

#[test]
fn a_size_that_the_network_cannot_halve_is_refused_with_the_nearest_ones() {
    let config = UnetConfig::from_json("{}").unwrap();
    assert_eq!(config.latent_multiple(), 8);
    assert!(config.check_size(8, 512, 384).is_ok());
    let error = config.check_size(8, 520, 384).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().ends_with("got 520x384, expected multiples of 64; nearest: 512x384, 576x384"), "{error}");
    let error = config.check_size(8, 1, 0).unwrap_err();
    assert!(error.to_string().ends_with("nearest: 64x64"), "{error}");
    assert!(config.check_size(8, usize::MAX, usize::MAX).is_err());
}

fn of(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    proptest::sample::select(values).prop_map(|text| serde_json::from_str(text).unwrap())
}

prop_compose! {
    /// Configs of three blocks with all sorts of values, sound and unsound.
    fn configs()(
        block_out_channels in of(&["[8, 8, 16]", "[12, 4, 8]", "[5, 8, 16]"]),
        norm_num_groups in of(&["1", "4", "2", "3"]),
        layers_per_block in of(&["1", "[1, 2, 3]", "[1, 2]", "-1"]),
        attention_head_dim in of(&["1", "2", "[1, 2, 4]", "4", "null", "\"4\""]),
        transformer_layers_per_block in of(&["0", "1", "[1, 2, 1]", "[1, 1, [1]]", "[[1], [1, 2], 3]"]),
        reverse_transformer_layers_per_block in of(&["null", "null", "1", "[[1, 2, 0, 3], [1, 2, 1], 0]", "[1]"]),
        only_cross_attention in of(&["false", "true", "[true, false, true]", "[true]"]),
        mid_block_type in of(&["null", "\"UNetMidBlock2D\"", "\"UNetMidBlock2DCrossAttn\""]),
        down_block_types in of(&[
            r#"["DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]"#,
            r#"["CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"]"#,
        ]),
        up_block_types in of(&[
            r#"["UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]"#,
            r#"["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"]"#,
        ]),
        conv_in_kernel in of(&["1", "3", "5", "2"]),
        downsample_padding in of(&["0", "1", "2"]),
        time_cond_proj_dim in of(&["null", "7"]),
        use_linear_projection in of(&["false", "true"]),
    ) -> Value {
        json!({
            "block_out_channels": block_out_channels, "norm_num_groups": norm_num_groups,
            "layers_per_block": layers_per_block, "attention_head_dim": attention_head_dim,
            "transformer_layers_per_block": transformer_layers_per_block,
            "reverse_transformer_layers_per_block": reverse_transformer_layers_per_block,
            "only_cross_attention": only_cross_attention, "mid_block_type": mid_block_type,
            "down_block_types": down_block_types, "up_block_types": up_block_types,
            "conv_in_kernel": conv_in_kernel, "downsample_padding": downsample_padding,
            "time_cond_proj_dim": time_cond_proj_dim, "use_linear_projection": use_linear_projection,
        })
    }
}

proptest! {
    #[test]
    fn a_config_is_refused_or_makes_a_program(config in configs()) {
        let Ok(config) = UnetConfig::from_json(&config.to_string()) else { return Ok(()) };
        let shape = UnetShape {
            text_tokens: 3,
            guidance_embedding: config.time.cond_dim.is_some(),
            ..UnetShape::new(2, 8, 4)
        };
        let program = unet_program(&config, &shape).unwrap();
        let eps = program.shape(program.outputs()[0].value);
        prop_assert_eq!((eps.n, eps.h, eps.w, eps.c), (2, 8, 4, 4));
    }
}
