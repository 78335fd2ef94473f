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
/// The demo model replaces any other, so that every client works without a download. It has no ControlNets, LoRAs or image
/// prompts: those are returned to the client, but not passed to the engine.
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
    engine.controlnets.clear();
    engine.lora_dict = BTreeMap::new();
    engine.use_lcm_lora = false;
    engine.ip_adapter.enabled = false;
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
    fn other_models_get_the_requested_parameters() {
        let params = StreamDiffusionParams::daydream();
        let source = ModelSource::folder("models");
        assert_eq!(model(&source, &params), "stabilityai/sd-turbo");
        assert_eq!(fit(&source, &params), Fitted { params, remarks: Vec::new() });
    }
}
