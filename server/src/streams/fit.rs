//! Adapts the parameters requested by a client to the served model.

use std::collections::BTreeMap;

use dreamframe::load::ModelSource;
use dreamframe::params::{DEMO_MODEL, StreamDiffusionParams, StyleImageUrl};

/// The parameters for the engine, and remarks on those of the client that have no effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) params: StreamDiffusionParams,
    pub(crate) remarks: Vec<String>,
}

/// The model that makes the pictures.
pub(crate) fn model<'a>(source: &ModelSource, params: &'a StreamDiffusionParams) -> &'a str {
    if *source == ModelSource::Demo { DEMO_MODEL } else { &params.model_id }
}

/// Fits `params` to what `source` has.
///
/// The demo model replaces any other, so that every client works without a download. It has no ControlNets, LoRAs,
/// weights of img2img-turbo, networks that interpolate or image prompts: those are returned to the client, but not
/// passed to the engine.
pub(crate) fn fit(source: &ModelSource, params: &StreamDiffusionParams) -> Fitted {
    let mut fitted = Fitted { params: params.clone(), remarks: Vec::new() };
    if *source != ModelSource::Demo {
        return fitted;
    }
    let Fitted { params: engine, remarks } = &mut fitted;
    if engine.model_id != DEMO_MODEL {
        remarks.push(format!("model_id {} is served by the demo model", engine.model_id));
        engine.model_id = DEMO_MODEL.into();
    }
    let mut leave_out = |is_there: bool, what: &str| {
        if is_there {
            remarks.push(format!("{what} not used: the demo model does not support them"));
        }
    };
    leave_out(engine.controlnets.iter().any(|net| net.enabled), "controlnets are");
    leave_out(!engine.lora_dict.is_empty(), "lora_dict is");
    leave_out(engine.ip_adapter.enabled, "ip_adapter is");
    leave_out(engine.img2img_turbo.weights.is_some(), "img2img_turbo is");
    leave_out(engine.interpolation.model_id.is_some(), "interpolation.model_id is");
    engine.controlnets.clear();
    engine.lora_dict = BTreeMap::new();
    engine.use_lcm_lora = false;
    engine.ip_adapter.enabled = false;
    engine.img2img_turbo.weights = None;
    engine.interpolation.model_id = None;
    engine.ip_adapter_style_image_url = StyleImageUrl::default();
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::models;

    #[test]
    fn demo_model_replaces_every_known_model_and_is_reported() {
        for model in models::KNOWN {
            let params = StreamDiffusionParams { model_id: model.into(), ..StreamDiffusionParams::daydream() };
            let fitted = fit(&ModelSource::Demo, &params);
            assert!(fitted.params.validate().is_ok());
            assert_eq!(fitted.params.model_id, DEMO_MODEL);
            assert_eq!(fitted.remarks.len(), 2, "{:?}", fitted.remarks);
            assert!(fitted.remarks[0].contains(model));
        }
    }

    #[test]
    fn the_demo_model_uses_neither_weights_of_img2img_turbo_nor_a_network_that_interpolates() {
        let mut params = StreamDiffusionParams { t_index_list: vec![0], ..StreamDiffusionParams::demo() };
        params.img2img_turbo.weights = Some("edge_to_image_loras.pkl".into());
        (params.interpolation.factor, params.interpolation.model_id) = (2, Some("flownet.pkl".into()));
        let fitted = fit(&ModelSource::Demo, &params);
        assert_eq!(fitted.params.img2img_turbo.weights, None);
        assert_eq!((fitted.params.interpolation.factor, fitted.params.interpolation.model_id), (2, None));
        for (remark, what) in fitted.remarks.iter().zip(["img2img_turbo is", "interpolation.model_id is"]) {
            assert!(remark.starts_with(&format!("{what} not used")), "{remark}");
        }
        assert_eq!(fitted.remarks.len(), 2);
    }

    #[test]
    fn other_models_get_the_requested_parameters() {
        let params = StreamDiffusionParams::daydream();
        let source = ModelSource::folder("models");
        assert_eq!(model(&source, &params), "stabilityai/sd-turbo");
        assert_eq!(fit(&source, &params), Fitted { params, remarks: Vec::new() });
    }
}
