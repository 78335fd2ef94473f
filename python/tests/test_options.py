"""Options of a stream: each reaches the engine, and a wrong value is refused with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dreamframe import DreamframeError, StreamDiffusion, StreamDiffusionParams

from conftest import ROOT, SIDE, gradient

DEMO = ROOT / "models" / "demo" / "dreamframe-tiny"


def made(**options: Any) -> Any:
    """Returns a picture of a stream with these options."""
    params = StreamDiffusionParams.demo(model_id=options.pop("model_id", "demo"), width=SIDE, height=SIDE)
    with StreamDiffusion(params, threads=2, **options) as stream:
        return stream(gradient())


@pytest.fixture(scope="module")
def plain() -> Any:
    return made()


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "f32", "device": "cpu", "executor": "cpu"},
        {"vae": "full"},
        {"vae": "auto", "flagged": "black", "packed_cache": "off"},
        {"control_images": "per-row"},
        {"control_images": "newest", "batching": "as-requested", "lora_mode": "live"},
        {"batch_streams": "on", "batch_wait_ms": 5},
        {"region_reuse": "exact", "region_threshold": 2.5},
    ],
    ids=repr,
)
def test_options_that_change_no_picture_here_are_accepted(options: dict[str, Any], plain: Any) -> None:
    assert np.array_equal(made(**{"dtype": "f32", **options}), made(dtype="f32"))


def test_packed_weights_are_stored_where_the_option_says(tmp_path: Path) -> None:
    cache = tmp_path / "packed"
    first = made(models=DEMO, model_id="x", packed_cache=cache)
    assert any(cache.rglob("*")), "the folder is written"
    assert np.array_equal(first, made(models=DEMO, model_id="x", packed_cache=str(cache)))


def test_calibration_is_read_from_its_file(tmp_path: Path) -> None:
    wrong = tmp_path / "calibration.json"
    with pytest.raises(DreamframeError, match=r"calibration\.json"):
        StreamDiffusion(calibration=wrong)
    wrong.write_text("{}")
    with pytest.raises(DreamframeError, match=r"calibration\.json"):
        StreamDiffusion(calibration=str(wrong))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flagged": "white"}, ValueError, "white"),
        ({"control_images": "oldest"}, ValueError, "oldest"),
        ({"dtype": "f8"}, ValueError, "f8"),
        ({"flagged": 1}, TypeError, "flagged: got 1, expected text"),
        ({"control_images": 1}, TypeError, "control_images: got 1, expected text"),
        ({"ip_adapter": 1}, TypeError, "ip_adapter: got 1, expected text"),
        ({"packed_cache": 1}, TypeError, "packed_cache: got 1, expected text, a path, or None"),
        ({"calibration": 1}, TypeError, "calibration: got 1, expected a path, or None"),
        ({"vae": 1}, TypeError, "vae: got 1, expected text, a path, or None"),
    ],
    ids=repr,
)
def test_wrong_values_are_refused_with_the_option(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        StreamDiffusion(**options)
    assert message in str(raised.value)


def test_missing_models_of_options_are_named(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"ip_adapter": {"enabled": True}, "ip_adapter_style_image_url": "https://example.invalid/x.png"}
    (tmp_path / "tiny").symlink_to(DEMO, target_is_directory=True)
    params = StreamDiffusionParams.demo(model_id="tiny", width=SIDE, height=SIDE, **changes)
    with pytest.raises(DreamframeError, match="own/adapter"):
        StreamDiffusion(params, models=tmp_path, ip_adapter="own/adapter", packed_cache="off")
    with pytest.raises(DreamframeError, match="none-here"):
        StreamDiffusion(StreamDiffusionParams.demo(), vae=tmp_path / "none-here")
