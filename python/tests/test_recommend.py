"""The models that this machine can run."""

from __future__ import annotations

import pytest

import dreamframe
from dreamframe import InvalidArgumentError, StreamDiffusionParams


def test_models_are_recommended_in_order_with_what_they_need() -> None:
    found = dreamframe.recommend_models(threads=1, sizes=[(256, 256), (512, 512)])
    assert all(isinstance(model, dreamframe.models.Recommendation) for model in found)
    keys = [(model.fits is False, -model.pictures_per_second) for model in found]
    assert keys == sorted(keys)
    sdxs = {model.width: model for model in found if model.model == "sdxs"}
    assert sdxs[256].frame_ms < sdxs[512].frame_ms
    assert sdxs[512].command == "dreamframe models fetch sdxs"
    assert sdxs[512].model_id == StreamDiffusionParams.for_model("sdxs").model_id
    demo = next(model for model in found if model.model == "demo")
    assert demo.command is None
    assert demo.download_mb == 0


def test_what_cannot_be_measured_or_made_is_refused() -> None:
    for threads in (0, 1025):
        with pytest.raises(InvalidArgumentError, match=f"got {threads}, expected"):
            dreamframe.recommend_models(threads=threads)
    with pytest.raises(InvalidArgumentError, match="100x100"):
        dreamframe.recommend_models(threads=1, sizes=[(100, 100)])
