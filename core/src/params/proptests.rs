//! Properties of patches, merges and differences, over generated parameters.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::constraint::Checker;
use super::*;

type Params = StreamDiffusionParams;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{0,12}", ".{0,6}", Just("\u{1F600} \"quoted\" \\".to_owned())]
}

fn weighted<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Weighted<T>> {
    let value = value.boxed();
    let pairs = vec((value.clone(), 0.001..1000.0), 1..5).prop_map(Weighted::Blend);
    prop_oneof![value.prop_map(Weighted::One), pairs]
}

/// A grid length with a list that fits it.
fn steps() -> impl Strategy<Value = (u32, Vec<u32>)> {
    (1_u32..=100).prop_flat_map(|steps| {
        let list = vec(0..steps, 1..=4).prop_map(|mut list| {
            list.sort_unstable();
            list
        });
        (Just(steps), list)
    })
}

fn settings() -> impl Strategy<Value = Map<String, Value>> {
    // Names that no processor knows: they pass with any plain value.
    let value = prop_oneof![any::<bool>().prop_map(Value::from), (-1e9..1e9).prop_map(Value::from)];
    proptest::collection::btree_map("x_[a-z]{1,4}", value, 0..3).prop_map(Map::from_iter)
}

fn controlnets() -> impl Strategy<Value = Vec<ControlNetConfig>> {
    let preprocessor = proptest::option::of(proptest::sample::select(vec![
        ProcessorName::Canny,
        ProcessorName::Depth,
        ProcessorName::DepthTensorrt,
    ]));
    let one = (any::<bool>(), 0.0..=1.0, preprocessor, settings(), 0.0..0.5, proptest::option::of(1_u32..=16));
    let net = one.prop_map(|(enabled, conditioning_scale, preprocessor, preprocessor_params, start, channels)| {
        ControlNetConfig {
            enabled,
            conditioning_scale,
            preprocessor,
            preprocessor_params,
            control_guidance_start: start,
            conditioning_channels: channels,
            ..ControlNetConfig::new("")
        }
    });
    // Few ids, so that two sets of parameters share some, in another order.
    let ids = Just(vec!["a", "b", "c", "d"]).prop_shuffle();
    (vec(net, 0..=4), ids).prop_map(|(mut nets, ids)| {
        for (net, id) in nets.iter_mut().zip(ids) {
            net.model_id = id.into();
        }
        nets
    })
}

fn chain() -> impl Strategy<Value = ProcessingConfig> {
    let kinds = vec![ProcessorName::Blur, ProcessorName::Hed, ProcessorName::RealesrganTrt];
    let processor = (proptest::sample::select(kinds), any::<bool>(), settings());
    let processor = processor.prop_map(|(kind, enabled, params)| SingleProcessorConfig { kind, enabled, params });
    (any::<bool>(), vec(processor, 0..3)).prop_map(|(enabled, processors)| ProcessingConfig { enabled, processors })
}

fn adapter() -> impl Strategy<Value = IPAdapterConfig> {
    let weight_type = proptest::sample::select(WeightType::ALL);
    (0.0..=10.0, weight_type, proptest::option::of(text())).prop_map(|(scale, weight_type, path)| IPAdapterConfig {
        scale,
        weight_type,
        image_encoder_path: path,
        ..IPAdapterConfig::default()
    })
}

/// Without weights, which restrict other parameters.
fn turbo() -> impl Strategy<Value = Img2ImgTurboConfig> {
    let direction = proptest::sample::select(TurboDirection::ALL);
    (direction, 0.0..=1.0).prop_map(|(direction, strength)| Img2ImgTurboConfig { weights: None, direction, strength })
}

/// Valid parameters.
fn params() -> impl Strategy<Value = Params> {
    let base = prop_oneof![Just(Params::default()), Just(Params::demo()), Just(Params::daydream())];
    let words = (weighted(text()), text(), weighted(0_u64..1 << 53), steps());
    let spacing = proptest::sample::select(TimestepSpacing::ALL);
    let rule = (proptest::sample::select(Scheduler::ALL), 0.0..=1.0, spacing, 1_u32..=4, 0.0..=1.0);
    let numbers = (0.0..=100.0, 0.0..=10.0, 8_u32..=256, any::<bool>(), proptest::sample::select(CfgType::ALL), rule);
    let parts = (controlnets(), chain(), adapter(), turbo(), proptest::option::of("[a-z/]{1,6}"));
    let loras = proptest::collection::btree_map("[a-z/]{1,6}", -10.0..10.0, 0..3);
    (base, words, numbers, parts, loras).prop_map(|(base, words, numbers, parts, lora_dict)| Params {
        prompt: words.0,
        negative_prompt: words.1,
        seed: words.2,
        num_inference_steps: words.3.0,
        t_index_list: words.3.1,
        guidance_scale: numbers.0,
        delta: numbers.1,
        width: numbers.2 * 8,
        do_add_noise: numbers.3,
        cfg_type: numbers.4,
        scheduler: numbers.5.0,
        eta: numbers.5.1,
        timestep_spacing: numbers.5.2,
        interpolation: InterpolationConfig { factor: numbers.5.3, scene_cut: numbers.5.4, model_id: parts.4 },
        controlnets: parts.0,
        image_postprocessing: parts.1,
        ip_adapter: parts.2,
        img2img_turbo: parts.3,
        lora_dict,
        ..base
    })
}

/// Parameters, most of which violate a constraint.
fn invalid_params() -> impl Strategy<Value = Params> {
    let number = || prop_oneof![any::<f64>(), -1.0..20.0];
    let words = (".{0,600}", weighted(".{0,9000}"), vec(0_u32..200, 0..6), weighted(any::<u64>()));
    let numbers = (any::<u32>(), number(), number(), proptest::option::of(any::<u32>()));
    let lists = (0_usize..10, 0_usize..18, 0_usize..34, vec(number(), 0..18));
    (params(), words, numbers, lists).prop_map(|(mut params, words, numbers, (nets, processors, settings, weights))| {
        (params.model_id, params.prompt, params.t_index_list, params.seed) = words;
        (params.width, params.delta) = (numbers.0, numbers.1);
        let net = ControlNetConfig {
            conditioning_scale: numbers.2,
            conditioning_channels: numbers.3,
            ..ControlNetConfig::new("")
        };
        params.controlnets.resize(nets, net);
        let processor = SingleProcessorConfig {
            kind: ProcessorName::Blur,
            enabled: true,
            params: (0..settings).map(|at| (format!("x_{at}"), Value::Array(Vec::new()))).collect(),
        };
        params.latent_preprocessing.processors = vec![processor; processors];
        params.lora_dict = weights.iter().enumerate().map(|(at, &weight)| (at.to_string(), weight)).collect();
        params.seed = Weighted::Blend(weights.into_iter().map(|weight| (1, weight)).collect());
        params
    })
}

/// JSON of any shape, with names of parameters and without.
fn any_json() -> impl Strategy<Value = Value> {
    let names: Vec<&str> = FIELDS.iter().flat_map(|field| field.path.split(['.', '[', ']'])).collect();
    let name = prop_oneof![proptest::sample::select(names).prop_map(str::to_owned), "[a-z_]{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0_u32..60).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name.clone(), inner), 0..8).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn generated_parameters_are_valid(params in params()) {
        prop_assert_eq!(params.violations(), []);
    }

    #[test]
    fn typed_values_are_checked_as_their_json(params in prop_oneof![params(), invalid_params()]) {
        let mut typed = Checker::of_params();
        params.check_rows(&mut typed);
        let mut json = Checker::of_params();
        if let Value::Object(values) = params.to_value() {
            validate::check_object("", "", &values, &mut json);
        }
        prop_assert_eq!(typed.finish(), json.finish());
    }

    #[test]
    fn parameters_round_trip_through_json(params in params()) {
        prop_assert_eq!(&Params::from_json(&params.to_json()).unwrap().0, &params);
        prop_assert_eq!(&serde_json::from_str::<Params>(&params.to_json()).unwrap(), &params);
    }

    #[test]
    fn merging_the_difference_results_in_the_new_parameters(old in params(), new in params()) {
        let patch = ParamsPatch::between(&old, &new).unwrap();
        prop_assert_eq!(&patch.merge(&old).unwrap().0, &new);
        let read = ParamsPatch::from_json(&patch.to_json()).unwrap();
        prop_assert_eq!(read, patch);
    }

    #[test]
    fn an_empty_patch_has_no_effect(params in params()) {
        let patch = ParamsPatch::from_json("{}").unwrap();
        prop_assert!(patch.is_empty());
        prop_assert_eq!(patch.merge(&params).unwrap(), (params, vec![]));
    }

    #[test]
    fn merging_twice_is_merging_once(old in params(), new in params(), keep in any::<[bool; 40]>()) {
        // Some of the changes only, so that lists are rescaled now and then.
        let whole = ParamsPatch::between(&old, &new).unwrap();
        let all: Map<String, Value> = serde_json::from_str(&whole.to_json()).unwrap();
        let some = all.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(entry, _)| entry).collect();
        let patch = ParamsPatch::from_value(Value::Object(some)).unwrap();
        if let Ok((once, _)) = patch.merge(&old) {
            prop_assert_eq!(&patch.merge(&once).unwrap().0, &once);
        }
    }

    #[test]
    fn rescaling_never_leaves_the_grid(old in params(), steps in 1_u32..=100) {
        let patch = ParamsPatch::from_json(&format!(r#"{{"num_inference_steps": {steps}}}"#)).unwrap();
        let (new, _) = patch.merge(&old).unwrap();
        prop_assert_eq!(new.num_inference_steps, steps);
        prop_assert_eq!(new.t_index_list.len(), old.t_index_list.len());
    }

    #[test]
    fn a_difference_is_empty_exactly_for_equal_parameters(old in params(), new in params()) {
        prop_assert_eq!(diff(&old, &old), []);
        prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
    }

    #[test]
    fn a_change_costs_the_same_both_ways(old in params(), new in params()) {
        prop_assert_eq!(total_cost(&diff(&old, &new)), total_cost(&diff(&new, &old)));
    }

    #[test]
    fn rebasing_onto_the_base_or_the_result_returns_the_result(base in params(), ours in params()) {
        for theirs in [&base, &ours] {
            prop_assert_eq!(rebase(&base, &ours, theirs), Rebased { params: ours.clone(), complete: true });
        }
    }

    #[test]
    fn rebasing_no_change_has_no_effect(base in params(), theirs in params()) {
        prop_assert_eq!(rebase(&base, &base, &theirs), Rebased { params: theirs, complete: true });
        prop_assert!(touched(&base, &base).is_empty());
    }

    #[test]
    fn changes_of_different_paths_commute(base in params(), other in params(), mask in any::<u64>()) {
        // Splits a change into two by the mask. Whole items stay on one side, since the order of two items that are
        // inserted at the same position is not defined.
        let bit = |place: &str| {
            let name = place.split(['[', ']']).next().unwrap_or_default();
            mask >> (name.bytes().map(u64::from).sum::<u64>() % 64) & 1 == 1
        };
        let ours = rebase_where(&base, &other, &base, bit);
        let theirs = rebase_where(&base, &other, &base, |place| !bit(place));
        prop_assert!(ours.complete && theirs.complete);
        let one = rebase(&base, &ours.params, &theirs.params);
        let two = rebase(&base, &theirs.params, &ours.params);
        prop_assert_eq!(&one.params, &two.params);
        prop_assert_eq!(one.params, other);
    }

    #[test]
    fn disjoint_changes_touch_disjoint_paths(base in params(), ours in params()) {
        prop_assert_eq!(touched(&base, &ours).is_empty(), base == ours);
        for place in touched(&base, &ours) {
            let without = rebase_where(&base, &ours, &base, |other| other != place);
            prop_assert!(!touched(&base, &without.params).contains(&place), "{}", place);
        }
    }

    #[test]
    fn arbitrary_json_is_no_panic(json in any_json()) {
        if let Ok((params, _)) = Params::from_json(&json.to_string()) {
            prop_assert_eq!(params.violations(), []);
        }
        let _ = ParamsPatch::from_value(json);
    }

    #[test]
    fn corrupted_text_is_no_panic(at in any::<prop::sample::Index>(), damage in any::<char>()) {
        // The preset is ASCII, so every index is the start of a character.
        let mut text = Params::daydream().to_json();
        text.insert(at.index(text.len()), damage);
        if let Ok((params, _)) = Params::from_json(&text) {
            prop_assert_eq!(params.violations(), []);
        }
    }

    #[test]
    fn truncated_text_is_rejected(at in any::<prop::sample::Index>()) {
        let text = Params::daydream().to_json();
        let error = Params::from_json(&text[..at.index(text.len())]).unwrap_err();
        prop_assert_eq!(error.kind(), crate::ErrorKind::InvalidParams);
    }
}
