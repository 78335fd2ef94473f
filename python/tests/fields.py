"""Every field of the schema, with valid and invalid values.

Generated from `StreamDiffusionParams.model_json_schema()` alone: a new field is tested without changes here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dreamframe import StreamDiffusionParams

SCHEMA = StreamDiffusionParams.model_json_schema()

# One item in every list of objects, so that the fields of items can be accessed.
ITEMS: dict[str, Any] = {
    "controlnets": [{"model_id": "one/net"}],
    "image_preprocessing": {"processors": [{"type": "blur"}]},
    "image_postprocessing": {"processors": [{"type": "sharpen"}]},
    "latent_preprocessing": {"processors": [{"type": "latent_feedback"}]},
    "latent_postprocessing": {"processors": [{"type": "latent_feedback"}]},
}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Field:
    """A path in the parameters that has a value."""

    path: Path
    node: dict[str, Any]

    @property
    def name(self) -> str:
        """The path as written in violations."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")


def base() -> StreamDiffusionParams:
    """Returns parameters in which every field can be accessed."""
    return StreamDiffusionParams(**copy.deepcopy(ITEMS))


def fields(node: dict[str, Any] = SCHEMA, path: Path = ()) -> Iterator[Field]:
    """Iterates over the leaves of the schema; a list of objects is yielded before its fields."""
    for name, child in node["properties"].items():
        here = (*path, name)
        if "properties" in child:
            yield from fields(child, here)
            continue
        yield Field(here, child)
        items = child.get("items")
        if isinstance(items, dict) and "properties" in items:
            yield from fields(items, (*here, 0))


FIELDS = list(fields())


def get(params: Any, path: Path) -> Any:
    """Returns the value at `path` in parameters or in their dump."""
    for part in path:
        params = params[part] if isinstance(params, (dict, list)) else getattr(params, str(part))
    return params


def put(dump: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Returns the top-level field of `path` with `value` at the path."""
    whole = copy.deepcopy(dump)
    *before, last = path
    inner: Any = whole
    for part in before:
        inner = inner[part]
    inner[last] = value
    top = str(path[0])
    return {top: whole[top]}


def choices(node: dict[str, Any]) -> list[str] | None:
    """Returns the choices of a node."""
    variants = node.get("oneOf") or next((one["oneOf"] for one in node.get("anyOf", []) if "oneOf" in one), None)
    return None if variants is None else [variant["const"] for variant in variants if "const" in variant]


def kinds(node: dict[str, Any]) -> set[str]:
    """Returns the JSON types that a node allows."""
    own = node.get("type", [])
    found = {own} if isinstance(own, str) else set(own)
    for one in [*node.get("anyOf", []), *node.get("oneOf", [])]:
        found |= kinds(one)
    return found


def another(field: Field, old: Any) -> Any:
    """Returns a valid value other than `old`; None if rules between fields allow no other."""
    match field.path[-1]:
        case "processors":
            return [*old, {**old[0], "enabled": False}]
        case "controlnets":
            return [{"model_id": "another/net", "conditioning_scale": 0.5}]
        case "weights":
            # With weights of img2img-turbo, there is one step.
            return None
        case "lora_dict":
            return {"some/lora": 0.5, "other/lora": -1.0}
        case "t_index_list":
            return [1, 2]
        case "params" | "preprocessor_params":
            return {"some_setting": 0.5, "another": True, "third": "text"}
        case "ip_adapter_style_image_url":
            return "https://example.org/style.png"
        case "type" if "latent" in str(field.path[0]):
            return "latent_feedback"
        case "enabled" if field.path[0] == "ip_adapter":
            return False
        case _:
            pass
    names = choices(field.node)
    if names is not None:
        usable = [name for name in names if name not in (old, "latent_feedback")]
        return usable[-1]
    types = kinds(field.node)
    if "boolean" in types:
        return not old
    if "integer" in types:
        node = field.node if "minimum" in field.node else field.node["anyOf"][0]
        step = node.get("multipleOf", 1)
        return node["minimum"] if old is None else old + step if old + step <= node["maximum"] else old - step
    if "number" in types:
        return (old + field.node["minimum"]) / 2 if old != field.node["minimum"] else old + 0.25
    if "string" in types:
        return "something/else"
    raise AssertionError(f"{field.name} is of a new kind: {field.node}")


def refused(field: Field) -> Iterator[tuple[str, Any]]:
    """Returns invalid values of the field, each with the reason."""
    node, types = field.node, kinds(field.node)
    simple = node if "anyOf" not in node else node["anyOf"][0]
    if "null" not in types:
        yield "none", None
    yield "an object of another kind", object()
    if choices(node) is not None:
        yield "no such name", "no such name"
        yield "wrong case", choices(node)[0].upper()
        yield "a number for a name", 3
        return
    if "boolean" in types:
        yield "a number for a flag", 1
        yield "text for a flag", "true"
    if "number" in types or "integer" in types:
        yield "below the least", simple["minimum"] - 1
        yield "above the greatest", simple["maximum"] + 1
        yield "a flag for a number", True
        yield "not a number", math.nan
        yield "infinite", math.inf
    if ("number" in types or "integer" in types) and "string" not in types:
        yield "text for a number", "1"
    if "integer" in types:
        yield "half a step", simple["minimum"] + 0.5
        yield "a float", float(simple["minimum"] + simple.get("multipleOf", 1))
    if "multipleOf" in simple:
        yield "between two steps", simple["minimum"] + simple["multipleOf"] // 2
    if "string" in types:
        yield "a number for text", 7
        yield "bytes for text", b"text"
        if simple.get("maxLength", 1 << 20) < 1 << 20:
            yield "too long", "x" * (simple["maxLength"] + 1)
        if simple.get("minLength"):
            yield "too short", ""
    if "array" in types:
        yield from refused_lists(node, simple)
    if "object" in types:
        yield "a list for an object", [1]
        yield "text for an object", "name"
        yield "too many names", {f"name{i}": 1.0 for i in range(node["maxProperties"] + 1)}


def refused_lists(node: dict[str, Any], simple: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    listed = simple if simple is node else node["anyOf"][1]
    yield "an object for a list", {"a": 1}
    if listed.get("minItems"):
        yield "empty", []
    if "prefixItems" in listed["items"]:
        value = "a" if "string" in kinds(simple) else 1
        yield "too many", [(value, 1.0)] * (listed["maxItems"] + 1)
        yield "a pair of three", [(value, 1.0, 2.0)]
        yield "a weight below zero", [(value, -1.0)]
        yield "no weight", [value]
        yield "a weight that is text", [(value, "1")]
    elif "properties" in listed["items"]:
        yield "an item without what it must have", [{}]
        yield "an item of another kind", [3]
        yield "an item with a name that there is not", [{"model_id": "a/b", "type": "blur", "no_such": 1}]
    else:
        yield "too many", [1] * (listed["maxItems"] + 1)
        yield "an item of another kind", ["1"]
        yield "a float item", [1.5]
        yield "an item below the least", [-1]
