"""Arguments of any type and value: each call does what it says, or raises an error of the package; none panics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from dreamframe import DreamframeError, InternalError, StreamDiffusion, StreamDiffusionParams

from conftest import SIDE, gradient, small_stream

NAMES = sorted(StreamDiffusionParams.demo().model_dump())
# Larger pictures and other models take seconds each.
SLOW = {"width", "height", "model_id", "lcm_lora_id", "controlnets", "lora_dict"}
LIVE = [name for name in NAMES if name not in SLOW]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


def changes(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Values of any kind for parameters, and now and then for none."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=12), values, max_size=4)


def expected(error: Exception) -> None:
    """Checks that an error is of a documented class, with a message."""
    assert isinstance(error, (DreamframeError, TypeError, ValueError))
    assert not isinstance(error, InternalError)
    assert str(error)


# The same inputs in every run; the fuzz targets in Rust try others.
quick = settings(derandomize=True, database=None, deadline=None, max_examples=100)


@pytest.fixture(scope="module")
def shared() -> Iterator[StreamDiffusion]:
    with small_stream() as made:
        yield made


@quick
@given(changes(NAMES))
def test_parameters_are_refused_or_can_be_written_and_read(given_values: dict[str, Any]) -> None:
    try:
        params = StreamDiffusionParams(**given_values)
    except Exception as error:  # noqa: BLE001
        expected(error)
        return
    assert StreamDiffusionParams(**params.model_dump()) == params


@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes(LIVE))
def test_an_update_that_is_refused_changes_nothing(shared: StreamDiffusion, given_values: dict[str, Any]) -> None:
    before = shared.params
    try:
        shared.update(**given_values)
    except Exception as error:  # noqa: BLE001
        expected(error)
        assert shared.params == before


shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
frames = arrays.arrays(st.sampled_from([np.uint8, np.float16, np.float32, np.int64, np.bool_]), shapes)


@settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames | values)
def test_a_frame_of_any_shape_and_type_becomes_a_picture_or_is_refused(shared: StreamDiffusion, frame: Any) -> None:
    try:
        picture = shared(frame)
    except Exception as error:  # noqa: BLE001
        expected(error)
        return
    assert np.asarray(picture).shape[:2] == (SIDE, SIDE)


def test_the_stream_still_makes_pictures(shared: StreamDiffusion) -> None:
    shared.update(**StreamDiffusionParams.demo().model_copy(update={"width": SIDE, "height": SIDE}).model_dump())
    picture: NDArray[np.uint8] = np.asarray(shared(gradient()))
    assert picture.shape == (SIDE, SIDE, 4)
