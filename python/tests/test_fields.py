"""Every field of the schema, by every way to set it: its default, other values, and its errors."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from dreamframe import InvalidParamsError, StreamDiffusionParams

from fields import FIELDS, SCHEMA, Field, another, base, get, put, refused

each = pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
REFUSED = [
    pytest.param(field, value, id=f"{field.name}-{what.replace(' ', '-')}")
    for field in FIELDS
    for what, value in refused(field)
]
each_refused = pytest.mark.parametrize(("field", "value"), REFUSED)


def assign(params: Any, field: Field, value: Any) -> None:
    *before, last = field.path
    inner = get(params, tuple(before))
    setattr(inner, str(last), value)


def test_number_of_fields() -> None:
    assert len(FIELDS) >= 66


@each
def test_default_equals_that_of_the_schema(field: Field) -> None:
    if "default" not in field.node:
        assert field.path[-1] in ("model_id", "type")
        return
    value = get(base().model_dump(), field.path)
    items = field.path[-1] in ("controlnets", "processors")
    assert value == field.node["default"] or items, "items were put there by the test"
    assert type(value) is type(field.node["default"]) or items


@each
def test_valid_value_round_trips_through_every_interface(field: Field) -> None:
    dump = base().model_dump()
    old = get(dump, field.path)
    new = another(field, old)
    top = put(dump, field.path, new)
    if field.name == "num_inference_steps":
        # On its own, a new number of steps would rescale the list.
        top["t_index_list"] = dump["t_index_list"]
    assigned = base()
    assign(assigned, field, new)
    doors = {
        "keyword": StreamDiffusionParams(**{**dump, **top}),
        "model_copy": base().model_copy(update=top),
        "assignment": assigned,
        "model_validate": StreamDiffusionParams.model_validate({**dump, **top}),
        "model_validate_json": StreamDiffusionParams.model_validate_json(json.dumps({**dump, **top})),
    }
    for door, params in doors.items():
        value = get(json.loads(params.model_dump_json()), field.path)
        if field.path[-1] in ("controlnets", "processors"):
            value = [{name: item[name] for name in given} for item, given in zip(value, new, strict=True)]
        assert value == new, door
        assert params == doors["keyword"], door
    assert doors["keyword"] != base() or new == old
    assert base().model_dump() == dump, "the original is untouched"


@each_refused
def test_invalid_value_is_rejected_at_construction_with_its_path(field: Field, value: Any) -> None:
    dump = base().model_dump()
    with pytest.raises(InvalidParamsError) as error:
        StreamDiffusionParams(**{**dump, **put(dump, field.path, value)})
    told(error.value, field)


@each_refused
def test_invalid_value_is_rejected_at_assignment_without_a_change(field: Field, value: Any) -> None:
    params = base()
    before = params.model_dump()
    with pytest.raises(InvalidParamsError) as error:
        assign(params, field, value)
    assert params.model_dump() == before
    # A part of the parameters does not know its path; the field's name is always present.
    assert str(field.path[-1]) in str(error.value)


@each_refused
def test_invalid_value_is_rejected_in_a_copy(field: Field, value: Any) -> None:
    params = base()
    before = params.model_dump()
    with pytest.raises(InvalidParamsError) as error:
        params.model_copy(update=put(before, field.path, value))
    told(error.value, field)
    assert params.model_dump() == before


def told(error: InvalidParamsError, field: Field) -> None:
    paths = [violation.path for violation in error.violations]
    assert any(path == field.name or path.startswith((f"{field.name}[", f"{field.name}.")) for path in paths), paths
    for violation in error.violations:
        assert violation.path in str(error)
        assert violation.message in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"t_index_list": [10, 5]},
        {"t_index_list": [51]},
        {"num_inference_steps": 10, "t_index_list": [11]},
        {"prompt": [("a", 0.0)]},
        {"controlnets": [{"model_id": "a/b"}, {"model_id": "a/b"}]},
        {"controlnets": [{"model_id": "a/b", "control_guidance_start": 0.6, "control_guidance_end": 0.4}]},
        {"controlnets": [{"model_id": "a/b", "preprocessor": "latent_feedback"}]},
        {"controlnets": [{"model_id": "lllyasviel/control_v11f1p_sd15_depth"}]},
        {"image_preprocessing": {"processors": [{"type": "latent_feedback"}]}},
        {"latent_preprocessing": {"processors": [{"type": "blur"}]}},
        {"ip_adapter": {"enabled": True}},
        {"lora_dict": {"": 1.0}},
        {"ip_adapter_style_image_url": "file:///etc/passwd"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_rules_between_fields_are_checked_at_construction(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidParamsError):
        StreamDiffusionParams(**changes)


def test_fields_have_the_names_and_order_of_the_schema() -> None:
    assert list(StreamDiffusionParams.model_fields) == list(SCHEMA["properties"])
    assert list(StreamDiffusionParams().model_dump()) == list(SCHEMA["properties"])


def test_numbers_round_trip_exactly() -> None:
    for delta in (0.1, 1 / 3, math.nextafter(1.0, 2.0), 1e-300):
        params = StreamDiffusionParams(delta=delta)
        assert StreamDiffusionParams.model_validate_json(params.model_dump_json()).delta == delta
