//! Adapts the parameters requested by a client to the served model.

use dreamframe::load::{ModelId, ModelSource};
use dreamframe::params::{
    ControlNetConfig, DEMO_CONTROLNETS, DEMO_LORA, DEMO_MODEL, IPAdapterType, ProcessorName, StreamDiffusionParams,
    StyleImageUrl,
};

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
/// The demo model replaces any other, so that every client works without a download, and its own networks replace
/// ControlNets of the same kind and IP-Adapters of images. Other ControlNets, LoRAs, weights of img2img-turbo and networks
/// that interpolate are returned to the client, but not passed to the engine.
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
    engine.use_lcm_lora = false;
    fit_controlnets(&mut engine.controlnets, remarks);
    engine.lora_dict.retain(|id, _| {
        let is_kept = is_built_in(id);
        if !is_kept {
            remarks.push(format!("lora_dict: {id} is not used: the demo model has {DEMO_LORA}"));
        }
        is_kept
    });
    fit_ip_adapter(engine, remarks);
    let mut leave_out = |id: &mut Option<String>, field: &str| {
        if id.take().is_some() {
            remarks.push(format!("{field} is not used: the demo model does not support it"));
        }
    };
    leave_out(&mut engine.img2img_turbo.weights, "img2img_turbo.weights");
    leave_out(&mut engine.interpolation.model_id, "interpolation.model_id");
    fitted
}

/// Replaces ControlNets by those of the demo model for the same kind of control image, and removes the others. Of several
/// that become the same one, the first that is enabled stays, since an id may occur only once.
fn fit_controlnets(nets: &mut Vec<ControlNetConfig>, remarks: &mut Vec<String>) {
    let requested = std::mem::take(nets);
    let fitting = requested.into_iter().filter_map(|mut net| fit_controlnet(&mut net, remarks).then_some(net));
    for net in fitting.collect::<Vec<_>>() {
        match nets.iter_mut().find(|kept| kept.model_id == net.model_id) {
            Some(kept) if !kept.enabled => *kept = net,
            Some(_) if net.enabled => remarks.push(format!("controlnets: {} is used once", net.model_id)),
            Some(_) => {}
            None => nets.push(net),
        }
    }
}

/// Replaces a ControlNet by that of the demo model for the same kind of control image; returns false if there is none.
fn fit_controlnet(net: &mut ControlNetConfig, remarks: &mut Vec<String>) -> bool {
    if is_built_in(&net.model_id) {
        return true;
    }
    let name = net.model_id.to_lowercase();
    let [canny, soft_edge] = DEMO_CONTROLNETS;
    let kinds = [
        ("canny", canny),
        ("hed", soft_edge),
        ("softedge", soft_edge),
        ("soft_edge", soft_edge),
        ("lineart", soft_edge),
        ("scribble", soft_edge),
        ("sketch", soft_edge),
    ];
    let own = kinds.into_iter().find(|(kind, _)| name.contains(kind)).map(|(_, own)| own);
    if let Some(own) = own {
        remarks.push(format!("controlnets: {} is replaced by {own}", net.model_id));
        net.model_id = own.into();
        // Networks of processors are not part of the program.
        if net.preprocessor.is_some_and(ProcessorName::has_weights) {
            net.preprocessor = Some(ProcessorName::SoftEdge);
            net.preprocessor_params.clear();
        }
    } else if net.enabled {
        let own = DEMO_CONTROLNETS.join(" and ");
        remarks.push(format!("controlnets: {} is not used: the demo model has {own}", net.model_id));
    }
    own.is_some()
}

/// Replaces an IP-Adapter of images by that of the demo model, and turns off one of faces.
fn fit_ip_adapter(engine: &mut StreamDiffusionParams, remarks: &mut Vec<String>) {
    let adapter = &mut engine.ip_adapter;
    if adapter.enabled && adapter.kind == IPAdapterType::Faceid {
        remarks.push("ip_adapter is not used: the demo model has none of faces".into());
        adapter.enabled = false;
    }
    for path in [&mut adapter.ip_adapter_model_path, &mut adapter.image_encoder_path] {
        *path = path.take().filter(|id| is_built_in(id));
    }
    if !adapter.enabled {
        engine.ip_adapter_style_image_url = StyleImageUrl::default();
    }
}

fn is_built_in(id: &str) -> bool {
    id.parse::<ModelId>().is_ok_and(|id| id.is_built_in())
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
            assert!(fitted.remarks[0].contains(model));
        }
    }

    #[test]
    fn controlnets_of_the_same_kind_are_replaced_and_others_left_out() {
        let fitted = fit(&ModelSource::Demo, &StreamDiffusionParams::daydream());
        let nets: Vec<_> = fitted.params.controlnets.iter().map(|net| (&*net.model_id, net.preprocessor)).collect();
        let expected = [("demo-softedge", Some(ProcessorName::SoftEdge)), ("demo-canny", Some(ProcessorName::Canny))];
        assert_eq!(nets, expected);
        for (part, times) in [("is replaced by demo-", 2), ("is not used: the demo model has demo-canny and", 3)] {
            assert_eq!(fitted.remarks.iter().filter(|remark| remark.contains(part)).count(), times, "{part}");
        }
        let mut params = StreamDiffusionParams::demo();
        params.controlnets = vec![ControlNetConfig {
            preprocessor: Some(ProcessorName::Lineart),
            ..ControlNetConfig::new("lllyasviel/control_v11p_sd15_lineart")
        }];
        assert_eq!(fit(&ModelSource::Demo, &params).params.controlnets[0].preprocessor, Some(ProcessorName::SoftEdge));
    }

    #[test]
    fn of_controlnets_that_become_the_same_one_the_first_enabled_one_stays() {
        let net = |id: &str, conditioning_scale, enabled| ControlNetConfig {
            conditioning_scale,
            enabled,
            ..ControlNetConfig::new(id)
        };
        let mut params = StreamDiffusionParams::demo();
        params.controlnets = vec![
            net("lllyasviel/control_v11p_sd15_softedge", 0.1, false),
            net("lllyasviel/control_v11p_sd15_lineart", 0.2, true),
            net("demo-softedge", 0.3, true),
            net("lllyasviel/control_v11p_sd15_scribble", 0.4, false),
        ];
        let fitted = fit(&ModelSource::Demo, &params);
        assert!(fitted.params.validate().is_ok());
        let nets: Vec<_> =
            fitted.params.controlnets.iter().map(|net| (&*net.model_id, net.conditioning_scale)).collect();
        assert_eq!(nets, [("demo-softedge", 0.2)]);
        assert!(fitted.remarks.contains(&"controlnets: demo-softedge is used once".into()), "{:?}", fitted.remarks);
    }

    #[test]
    fn networks_of_the_demo_model_are_used_and_those_of_other_models_are_not() {
        let mut params = StreamDiffusionParams { t_index_list: vec![0], ..StreamDiffusionParams::demo() };
        params.lora_dict = [DEMO_LORA, "own/style"].map(|id| (id.to_owned(), 0.5)).into();
        params.ip_adapter.enabled = true;
        params.ip_adapter.ip_adapter_model_path = Some("h94/IP-Adapter/models/ip-adapter_sd15.bin".into());
        params.img2img_turbo.weights = Some("edge_to_image_loras.pkl".into());
        (params.interpolation.factor, params.interpolation.model_id) = (2, Some("flownet.pkl".into()));
        let fitted = fit(&ModelSource::Demo, &params);
        assert_eq!(fitted.params.lora_dict, [(DEMO_LORA.to_owned(), 0.5)].into());
        assert_eq!((fitted.params.ip_adapter.enabled, fitted.params.ip_adapter.ip_adapter_model_path), (true, None));
        assert_eq!(fitted.params.img2img_turbo.weights, None);
        assert_eq!((fitted.params.interpolation.factor, fitted.params.interpolation.model_id), (2, None));
        for (remark, what) in fitted.remarks.iter().zip([
            "lora_dict: own/style is",
            "img2img_turbo.weights is",
            "interpolation.model_id is",
        ]) {
            assert!(remark.starts_with(&format!("{what} not used")), "{remark}");
        }
        assert_eq!(fitted.remarks.len(), 3);
        params.ip_adapter.kind = IPAdapterType::Faceid;
        assert!(!fit(&ModelSource::Demo, &params).params.ip_adapter.enabled);
    }

    #[test]
    fn other_models_get_the_requested_parameters() {
        let params = StreamDiffusionParams::daydream();
        let source = ModelSource::folder("models");
        assert_eq!(model(&source, &params), "stabilityai/sd-turbo");
        assert_eq!(fit(&source, &params), Fitted { params, remarks: Vec::new() });
    }
}
