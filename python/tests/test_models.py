"""Parameter classes: how they match pydantic's models, and where they differ."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import Any

import numpy as np
import pytest

import dreamframe
from dreamframe import (
    CachedAttentionConfig,
    ControlNetConfig,
    Cost,
    InvalidParamsError,
    IPAdapterConfig,
    ProcessingConfig,
    SingleProcessorConfig,
    StreamDiffusion,
    StreamDiffusionParams,
)

EDITED = StreamDiffusionParams(
    prompt=[("a garden", 0.7), ("snow", 0.3)],
    seed=[(1, 0.5), (2, 0.5)],
    t_index_list=[12, 20, 32],
    lora_dict={"a/lora": 0.5},
    controlnets=[ControlNetConfig(model_id="a/b", conditioning_scale=0.25, preprocessor="canny")],
    image_preprocessing=ProcessingConfig(processors=[SingleProcessorConfig(type="blur", params={"blur_intensity": 2})]),
    ip_adapter=IPAdapterConfig(scale=0.5, weight_type="ease in-out"),
    cached_attention=CachedAttentionConfig(max_frames=3),
)


def test_parameters_suit_a_model_by_its_short_name() -> None:
    params = StreamDiffusionParams.for_model("sdxs", prompt="a garden")
    assert params.model_id == "IDKiro/sdxs-512-0.9"
    assert len(params.t_index_list) == 1
    assert params.prompt == "a garden"
    assert StreamDiffusionParams.for_model("demo") == StreamDiffusionParams.demo()
    with pytest.raises(InvalidParamsError, match="sdxs-dreamshaper"):
        StreamDiffusionParams.for_model("unknown")


def test_construction_requires_keywords() -> None:
    with pytest.raises(TypeError):
        StreamDiffusionParams("a garden")


def test_all_violations_are_reported_together_with_their_paths() -> None:
    with pytest.raises(InvalidParamsError) as error:
        StreamDiffusionParams(promt="a", delta=-1, ip_adapter={"weight_types": "linear"})
    assert {violation.path for violation in error.value.violations} == {"promt", "delta", "ip_adapter.weight_types"}
    assert isinstance(error.value, ValueError)
    assert error.value.kind == "invalid_params"


def test_values_that_are_no_plain_data_are_reported_with_the_others() -> None:
    given: dict[str, Any] = {"t_index_list": [60], "delta": float("nan"), "seed": object()}
    given["lora_dict"] = {"a": float("inf")}
    expected = {"t_index_list[0]", "delta", "lora_dict.a", "seed"}
    controlnet = {"model_id": "a/b", "conditioning_scale": float("nan"), "control_guidance_end": 3}
    with StreamDiffusion(StreamDiffusionParams.demo(width=64, height=64), threads=1) as stream:
        before = stream.params
        calls: list[Any] = [
            lambda: StreamDiffusionParams(**given),
            lambda: StreamDiffusionParams.demo(**given),
            lambda: StreamDiffusionParams.model_validate(given),
            lambda: StreamDiffusion({**StreamDiffusionParams.demo().model_dump(), **given}),
            lambda: stream.update(**given),
            lambda: stream.plan(given),
        ]
        for call in calls:
            with pytest.raises(InvalidParamsError) as error:
                call()
            paths = [violation.path for violation in error.value.violations]
            assert sorted(paths) == sorted(expected), "each once"
        assert stream.params == before
        stream.update({"delta": float("nan")}, delta=0.5)
        assert stream.params.delta == 0.5, "a keyword replaces the value of the mapping"
    with pytest.raises(InvalidParamsError) as error:
        ControlNetConfig(**controlnet)
    assert {violation.path for violation in error.value.violations} == {"conditioning_scale", "control_guidance_end"}


def test_list_that_contains_itself_several_times_is_refused_with_few_violations() -> None:
    endless: list[Any] = []
    endless.extend([endless] * 8)
    with pytest.raises(InvalidParamsError) as error:
        StreamDiffusionParams(controlnets=endless)
    assert 1 <= len(error.value.violations) <= 100


def test_none_is_the_default_of_every_field() -> None:
    for name, field in StreamDiffusionParams.model_fields.items():
        assert StreamDiffusionParams(**{name: None}) == StreamDiffusionParams(), name
        changed = StreamDiffusionParams.model_validate(EDITED)
        setattr(changed, name, None)
        assert getattr(changed, name) == field.default, name
        assert getattr(EDITED.model_copy(update={name: None}), name) == field.default, name
    net = ControlNetConfig(model_id="a/b", conditioning_scale=None, preprocessor_params=None)
    assert net == ControlNetConfig(model_id="a/b")
    assert IPAdapterConfig(scale=None) == IPAdapterConfig()
    with pytest.raises(InvalidParamsError, match="model_id: got null"):
        ControlNetConfig(model_id=None)


def test_chain_is_also_a_list_of_its_processors() -> None:
    blur = SingleProcessorConfig(type="blur", params={"blur_intensity": 2})
    chain = ProcessingConfig(processors=[blur])
    for given in ([blur], [{"type": "blur", "params": {"blur_intensity": 2}}]):
        params = StreamDiffusionParams(image_preprocessing=given)
        assert params.image_preprocessing == chain
        params = StreamDiffusionParams()
        params.image_preprocessing = given  # type: ignore[assignment]
        assert params.image_preprocessing == chain
    assert StreamDiffusionParams(image_preprocessing=[]) == StreamDiffusionParams()


def test_numpy_scalars_are_accepted_as_numbers() -> None:
    params = StreamDiffusionParams(
        guidance_scale=np.float32(1.5),
        width=np.int64(640),
        use_lcm_lora=np.bool_(False),
        t_index_list=np.array([1, 2, 3]),
    )
    assert (params.guidance_scale, params.width, params.use_lcm_lora) == (1.5, 640, False)
    assert [type(value) for value in (params.guidance_scale, params.width, params.use_lcm_lora)] == [float, int, bool]
    assert params.t_index_list == [1, 2, 3]


def test_tuples_are_accepted_as_lists_and_integers_as_floats() -> None:
    params = StreamDiffusionParams(t_index_list=(1, 2), delta=1, prompt=(("a", 1),))
    assert params.t_index_list == [1, 2]
    assert params.prompt == [("a", 1.0)]
    assert isinstance(params.delta, float)


@pytest.mark.parametrize("params", [StreamDiffusionParams(), StreamDiffusionParams.daydream(), EDITED])
def test_every_dump_can_be_loaded_again(params: StreamDiffusionParams) -> None:
    ways = {
        "dump": StreamDiffusionParams(**params.model_dump()),
        "validate": StreamDiffusionParams.model_validate(params.model_dump()),
        "validate itself": StreamDiffusionParams.model_validate(params),
        "json": StreamDiffusionParams.model_validate_json(params.model_dump_json()),
        "indented json": StreamDiffusionParams.model_validate_json(params.model_dump_json(indent=2)),
        "json bytes": StreamDiffusionParams.model_validate_json(params.model_dump_json().encode()),
        "copy": params.model_copy(),
        "deep copy": params.model_copy(deep=True),
        "copy.copy": copy.copy(params),
        "copy.deepcopy": copy.deepcopy(params),
        "pickle": pickle.loads(pickle.dumps(params)),
        "repr": eval(repr(params), vars(dreamframe)),
        "dict": StreamDiffusionParams(**dict(params)),
    }
    for way, back in ways.items():
        assert back == params, way
        assert type(back) is StreamDiffusionParams, way
    changed = params.model_copy(update={"delta": 0.123})
    assert changed != params


def test_models_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(StreamDiffusionParams())


def test_equality_compares_class_and_values() -> None:
    assert StreamDiffusionParams(delta=0.5) == StreamDiffusionParams(delta=0.5)
    assert IPAdapterConfig() != CachedAttentionConfig()
    assert StreamDiffusionParams() != StreamDiffusionParams().model_dump()


def test_repr_shows_values_that_differ_from_the_defaults() -> None:
    assert repr(StreamDiffusionParams()) == "StreamDiffusionParams()"
    assert repr(StreamDiffusionParams(delta=0.5)) == "StreamDiffusionParams(delta=0.5)"
    assert repr(ControlNetConfig(model_id="a/b")) == "ControlNetConfig(model_id='a/b')"


def test_dumps_omit_excluded_fields() -> None:
    params = StreamDiffusionParams(delta=0.5, seed=789, controlnets=[{"model_id": "a/b"}])
    assert params.model_dump(exclude_unset=True) == {
        "delta": 0.5,
        "seed": 789,
        "controlnets": [{"model_id": "a/b"}],
    }
    assert params.model_dump(exclude_defaults=True) == {"delta": 0.5, "controlnets": [{"model_id": "a/b"}]}
    assert "lora_dict" not in params.model_dump(exclude_none=True)
    assert params.model_dump(include={"delta", "seed"}) == {"delta": 0.5, "seed": 789}
    assert "delta" not in params.model_dump(exclude={"delta"})
    assert params.model_dump(include={"controlnets": {0: {"enabled"}}}) == {"controlnets": [{"enabled": True}]}
    assert json.loads(params.model_dump_json(exclude_defaults=True)) == params.model_dump(exclude_defaults=True)


def test_json_dumps_contain_json_types_only() -> None:
    assert EDITED.model_dump()["prompt"] == [("a garden", 0.7), ("snow", 0.3)]
    assert EDITED.model_dump(mode="json")["prompt"] == [["a garden", 0.7], ["snow", 0.3]]
    assert json.loads(EDITED.model_dump_json()) == EDITED.model_dump(mode="json")


def test_dump_is_a_deep_copy() -> None:
    params = EDITED.model_copy(deep=True)
    dump = params.model_dump()
    dump["t_index_list"].append(99)
    dump["controlnets"][0]["enabled"] = False
    assert params == EDITED


def test_nested_models_are_not_copied_on_access() -> None:
    adapter = IPAdapterConfig(scale=0.25)
    params = StreamDiffusionParams(ip_adapter=adapter)
    adapter.scale = 0.75
    assert params.ip_adapter.scale == 0.75
    params.cached_attention.max_frames = 4
    assert params.model_dump()["cached_attention"]["max_frames"] == 4


def test_appended_invalid_item_is_rejected_on_use() -> None:
    params = StreamDiffusionParams.demo()
    params.t_index_list.append(99)
    for use in (
        lambda: StreamDiffusionParams.model_validate(params),
        lambda: params.model_copy(update={"delta": 0.5}),
        lambda: dreamframe.StreamDiffusion(params),
    ):
        with pytest.raises(InvalidParamsError, match=r"t_index_list\[2\]: got 99"):
            use()


def test_dependent_fields_can_be_set_one_at_a_time() -> None:
    params = StreamDiffusionParams()
    params.num_inference_steps = 10
    params.t_index_list = [1, 5, 9]
    assert StreamDiffusionParams.model_validate(params).t_index_list == [1, 5, 9]


def test_unknown_attribute_is_rejected() -> None:
    params = StreamDiffusionParams()
    with pytest.raises((AttributeError, InvalidParamsError), match="guidance_scale"):
        params.guidence_scale = 1.0
    with pytest.raises(AttributeError):
        _ = params.guidence_scale
    with pytest.raises(AttributeError):
        del params.delta


def test_copy_is_validated_and_independent() -> None:
    params = StreamDiffusionParams()
    changed = params.model_copy(update={"delta": 0.5})
    assert (params.delta, changed.delta) == (0.7, 0.5)
    assert changed.model_fields_set == {"delta"}
    with pytest.raises(InvalidParamsError):
        params.model_copy(update={"nonsense": 1})


def test_changing_only_the_steps_rescales_t_index_list() -> None:
    assert StreamDiffusionParams(num_inference_steps=25).t_index_list == [6, 10, 16]
    assert StreamDiffusionParams(num_inference_steps=25, t_index_list=[12, 20, 24]).t_index_list == [12, 20, 24]


def test_presets_take_other_values_by_keyword() -> None:
    demo = StreamDiffusionParams.demo(width=256, prompt="snow", delta=None)
    assert (demo.model_id, demo.width, demo.height, demo.prompt) == ("demo", 256, 512, "snow")
    others = {**StreamDiffusionParams.demo().model_dump(), "width": 256, "prompt": "snow"}
    assert demo == StreamDiffusionParams(**others)
    assert StreamDiffusionParams.daydream(seed=3).seed == 3
    with pytest.raises(InvalidParamsError, match="width"):
        StreamDiffusionParams.demo(width=255)


def test_presets_equal_those_of_the_library() -> None:
    assert StreamDiffusionParams.demo().model_id == "demo"
    assert (StreamDiffusionParams.daydream().width, StreamDiffusionParams.daydream().height) == (704, 384)
    assert len(StreamDiffusionParams.daydream().controlnets) == 5


def test_schema_equals_the_published_one() -> None:
    schema = StreamDiffusionParams.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["num_inference_steps"]["maximum"] == 100
    schema["properties"].clear()
    assert StreamDiffusionParams.model_json_schema()["properties"], "each call gives one of its own"


def test_fields_have_descriptions() -> None:
    field = StreamDiffusionParams.model_fields["guidance_scale"]
    assert (field.default, field.cost, field.is_required()) == (1.0, Cost.HOT, False)
    assert "classifier-free guidance" in field.description
    assert ControlNetConfig.model_fields["model_id"].is_required()


def test_constructor_signature_lists_every_field() -> None:
    signature = inspect.signature(StreamDiffusionParams)
    assert list(signature.parameters) == list(StreamDiffusionParams.model_fields)
    assert signature.parameters["delta"].default == 0.7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"delta": 0.5', "JSON"),
        ('{"delta": 0.5, "delta": 0.6}', "delta"),
        ('{"delta": NaN}', "delta"),
        ("[1, 2]", "object"),
        ("", "JSON"),
        ("[" * 100, "nested"),
    ],
)
def test_invalid_json_is_reported_with_its_position(text: str, told: str) -> None:
    with pytest.raises(InvalidParamsError, match=told):
        StreamDiffusionParams.model_validate_json(text)


@pytest.mark.parametrize("obj", [None, 1, "text", [1], ("a", "b")])
def test_parameters_must_be_a_mapping(obj: Any) -> None:
    with pytest.raises((InvalidParamsError, TypeError)):
        StreamDiffusionParams.model_validate(obj)


def test_unicode_text_round_trips() -> None:
    for prompt in ("", "庭園 🌸", 'quotes " and \\ and \n', "\u0000", "\ud7ff"):
        params = StreamDiffusionParams(prompt=prompt)
        assert StreamDiffusionParams.model_validate_json(params.model_dump_json()).prompt == prompt
    with pytest.raises(ValueError, match="surrogate"):
        StreamDiffusionParams(prompt="half a \ud800 pair")


def test_costs_are_ordered_strings() -> None:
    assert Cost.HOT < Cost.RECOMPUTE < Cost.LOAD < Cost.REBUILD
    assert Cost.HOT == "hot"
    assert max(Cost.HOT, Cost.LOAD) is Cost.LOAD
    assert pickle.loads(pickle.dumps(Cost.LOAD)) is Cost.LOAD
