"""A stream on the caller's thread: construction, updates between frames, closing."""

from __future__ import annotations

import gc
import inspect
import logging
import pathlib
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dreamframe
from dreamframe import (
    ClosedError,
    Cost,
    DreamframeError,
    InvalidParamsError,
    ModelNotFoundError,
    StreamDiffusion,
    StreamDiffusionParams,
    UnsupportedError,
)

from conftest import SIDE, gradient, small_stream

SMALL: dict[str, Any] = {**StreamDiffusionParams.demo().model_dump(), "width": SIDE, "height": SIDE}


def test_default_parameters_are_those_of_the_demo_model() -> None:
    with StreamDiffusion() as stream:
        assert stream.params == StreamDiffusionParams.demo()
        assert (stream.size, stream.delay) == ((512, 512), 1)
        assert stream.notices == []


@pytest.mark.parametrize("params", [SMALL, StreamDiffusionParams(**SMALL)], ids=["dict", "model"])
def test_parameters_are_a_model_or_a_mapping(params: Any) -> None:
    with StreamDiffusion(params) as stream:
        assert stream.params == StreamDiffusionParams(**SMALL)


def test_stream_reports_model_device_and_size() -> None:
    with small_stream(threads=2) as stream:
        assert stream.threads == 2
        assert "cpu" in stream.device.lower()
        assert "demo" in stream.model.lower()
        assert str(SIDE) in repr(stream)


def test_parameters_in_use_are_a_copy(stream: StreamDiffusion) -> None:
    stream.params.delta = 0.123
    assert stream.params.delta == 0.7


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"delta": 0.5}, Cost.HOT),
        ({"prompt": "moonlit night"}, Cost.RECOMPUTE),
        ({"prompt": [("snow", 0.5), ("blueprint", 0.5)]}, Cost.RECOMPUTE),
        ({"seed": 5, "t_index_list": [36, 41, 46]}, Cost.RECOMPUTE),
        ({"guidance_scale": 1.5}, Cost.HOT),
        ({"cfg_type": "none", "negative_prompt": "fog"}, Cost.HOT),
        ({"cfg_type": "full", "guidance_scale": 1.5}, Cost.RECOMPUTE),
        ({"width": 128}, Cost.REBUILD),
        ({"delta": 0.7}, None),
        ({}, None),
    ],
)
def test_update_returns_its_cost(changes: dict[str, Any], cost: Cost | None, stream: StreamDiffusion) -> None:
    plan = stream.plan(changes)
    assert plan.cost == cost
    assert {change.path.split("[")[0] for change in plan.changes} == (set(changes) if cost else set())
    assert stream.params == StreamDiffusionParams(**SMALL), "a plan changes nothing"
    assert stream.update(**changes) == cost
    assert stream.params == plan.params


@pytest.mark.parametrize(
    "update",
    [
        lambda stream: stream.update(delta=0.5),
        lambda stream: stream.update({"delta": 0.5}),
        lambda stream: stream.update(stream.params.model_copy(update={"delta": 0.5})),
        lambda stream: edit(stream, "delta", 0.5),
    ],
    ids=["keywords", "mapping", "model", "edit"],
)
def test_parameters_can_be_changed_in_four_ways(update: Any, stream: StreamDiffusion) -> None:
    assert update(stream) == Cost.HOT
    assert stream.params.delta == 0.5


def edit(stream: StreamDiffusion, name: str, value: Any) -> Cost | None:
    editing = stream.edit()
    with editing as params:
        setattr(params, name, value)
    return editing.cost


def test_an_edit_that_raises_changes_nothing(stream: StreamDiffusion) -> None:
    with pytest.raises(KeyError), stream.edit() as params:
        params.delta = 0.5
        raise KeyError
    assert stream.params.delta == 0.7


def test_rejected_update_changes_nothing(stream: StreamDiffusion) -> None:
    stream(gradient())
    with pytest.raises(InvalidParamsError) as error:
        stream.update(delta=0.5, guidance_scale=-1.0, seed=-1)
    assert [violation.path for violation in error.value.violations] == ["guidance_scale", "seed"]
    assert stream.params.delta == 0.7
    assert stream(gradient()).version == 0


def test_update_applies_from_the_next_picture(stream: StreamDiffusion) -> None:
    before = [stream(gradient()) for _ in range(3)][-1]
    stream.update(prompt="blueprint")
    after = [stream(gradient()) for _ in range(3)]
    assert {picture.version for picture in after} == {1}
    assert not np.array_equal(after[-1], before)


def test_picture_size_follows_updates_of_the_size(stream: StreamDiffusion) -> None:
    assert stream(gradient()).shape == (SIDE, SIDE, 4)
    stream.update(width=96, height=128)
    assert stream.size == (96, 128)
    assert stream(gradient()).shape == (128, 96, 4)


def test_transition_takes_the_given_number_of_steps(stream: StreamDiffusion) -> None:
    stream.transition("golden sunset", 3)
    for _ in range(3):
        stream(gradient())
    assert "golden sunset" in str(stream.params.prompt)


def test_frames_of_an_iterator_are_processed(stream: StreamDiffusion) -> None:
    taken: list[int] = []

    def camera() -> Iterator[Any]:
        for index in range(5):
            taken.append(index)
            yield gradient()

    pictures = stream.frames(camera())
    assert taken == [], "nothing is taken before it is asked for"
    first = next(pictures)
    assert (first.id, taken) == (0, [0])
    assert [picture.id for picture in pictures] == [1, 2, 3, 4]
    assert inspect.isgenerator(pictures) or iter(pictures) is pictures


def test_exception_of_the_iterator_is_propagated(stream: StreamDiffusion) -> None:
    def camera() -> Iterator[Any]:
        yield gradient()
        raise OSError("no camera")

    pictures = stream.frames(camera())
    next(pictures)
    with pytest.raises(OSError, match="no camera"):
        next(pictures)
    assert stream(gradient()).id == 1


def test_stats_count_work(stream: StreamDiffusion) -> None:
    stream(gradient())
    before = stream.stats()
    for _ in range(3):
        stream(gradient())
    after = stream.stats()
    assert after["unet_evaluations"] - before["unet_evaluations"] == 3
    assert after["unet_rows"] - before["unet_rows"] == 6


def test_closed_stream_raises_closed_error() -> None:
    stream = small_stream()
    assert not stream.closed
    stream.close()
    stream.close()
    assert stream.closed
    for call in (
        lambda: stream(gradient()),
        lambda: stream.update(delta=0.5),
        lambda: stream.start(),
        lambda: stream.plan(delta=0.5),
    ):
        with pytest.raises(ClosedError):
            call()
    assert "closed" in repr(stream)


def test_with_block_closes_the_stream() -> None:
    with pytest.raises(KeyError), small_stream() as stream:
        raise KeyError
    assert stream.closed


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="the system does not report it")
def test_dropped_streams_free_their_memory() -> None:
    def resident() -> int:
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * 4096

    for _ in range(3):
        small_stream()(gradient())
    gc.collect()
    before = resident()
    for _ in range(12):
        small_stream()(gradient())
    gc.collect()
    assert resident() - before < 30_000_000


def test_progress_is_reported_while_models_load() -> None:
    told: list[tuple[int, int, str]] = []
    with StreamDiffusion(SMALL, progress=lambda *step: told.append(step)):
        pass
    assert told, "there is progress"
    assert all(0 <= done <= total and what for done, total, what in told)
    for network in {what for _, _, what in told}:
        steps = [(done, total) for done, total, what in told if what == network]
        assert steps == sorted(steps)
        # The rest of the file is not read.
        assert 0 < steps[-1][0] <= steps[-1][1]


def test_exception_in_progress_cancels_loading_and_is_propagated() -> None:
    class EnoughError(Exception):
        pass

    def progress(done: int, total: int, what: str) -> None:
        raise EnoughError(what)

    with pytest.raises(EnoughError):
        StreamDiffusion(SMALL, progress=progress)


def test_options_are_checked_by_name_and_value() -> None:
    for wrong in (
        {"executor": "gpu"},
        {"provider": "gpu"},
        {"device_index": -1},
        {"device_index": "first"},
        {"onnxruntime": 3},
        {"dtype": "f64"},
        {"vae": 3},
        {"vae": "no/such/autoencoder"},
        {"vae": pathlib.Path("no-such-folder")},
        {"noise": "mersenne"},
        {"lora_mode": "added"},
        {"batching": "never"},
        {"batch_streams": "never"},
        {"batch_wait_ms": 0},
        {"region_reuse": "always"},
        {"region_threshold": 300},
        {"fit": "crop"},
        {"output": "hsv"},
        {"device": "tpu"},
        {"threads": 0},
        {"threads": "two"},
        {"progress": 3},
        {"models": 3},
        {"no_such_option": 1},
    ):
        (name,) = wrong
        with pytest.raises((TypeError, ValueError, DreamframeError)) as error:
            StreamDiffusion(SMALL, **wrong)
        told = " ".join([str(error.value), *getattr(error.value, "__notes__", [])])
        words = {"noise": "generator", "progress": "callable"}
        assert name in told or words.get(name, name) in told, (name, told)


@pytest.mark.parametrize("mode", ["auto", "merged", "live"])
def test_all_modes_of_loras_are_options(mode: Any) -> None:
    with StreamDiffusion(SMALL, lora_mode=mode) as stream, StreamDiffusion(SMALL) as other:
        frame = np.full((64, 64, 3), 90, np.uint8)
        # Without LoRAs, all are the same.
        assert (np.asarray(stream(frame)) == np.asarray(other(frame))).all()


def test_without_a_batch_a_picture_is_of_its_own_frame() -> None:
    assert len(SMALL["t_index_list"]) == 2
    with StreamDiffusion(SMALL, batching="where-faster") as in_turn, StreamDiffusion(SMALL) as batched:
        assert (in_turn.delay, batched.delay) == (0, 1)


def test_executor_onnx_loads_the_library_that_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelNotFoundError, match=re.escape(str(tmp_path))):
        StreamDiffusion(SMALL, executor="onnx", onnxruntime=tmp_path)
    # Other executors do not use it.
    with StreamDiffusion(SMALL, executor="cpu", onnxruntime=tmp_path) as stream:
        assert stream.device.startswith("cpu")


def test_package_onnxruntime_is_found_without_importing_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    library = tmp_path / "onnxruntime" / "capi" / ("onnxruntime.dll" if suffix == "dll" else f"libonnxruntime.{suffix}")
    library.parent.mkdir(parents=True)
    library.write_text("not a library")
    (tmp_path / "onnxruntime" / "__init__.py").write_text("raise ImportError('imported')")
    monkeypatch.delenv("DREAMFRAME_ONNXRUNTIME", raising=False)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnsupportedError, match=re.escape(str(library))):
        StreamDiffusion(SMALL, executor="onnx")
    assert "onnxruntime" not in sys.modules


def test_stream_cannot_be_pickled(stream: StreamDiffusion) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(stream)


def test_log_records_are_forwarded_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="dreamframe")
    with small_stream() as stream, stream.start() as session:
        session.wait_for(session.update(prompt="a secret prompt"), 60.0)
    records = [record for record in caplog.records if record.name.startswith("dreamframe")]
    assert records, "something is told"
    told = [record.getMessage() for record in records if record.levelno > logging.DEBUG]
    assert not any("a secret prompt" in message for message in told), "prompts are for debug at most"


def test_nothing_is_printed() -> None:
    program = (
        "from test_streams import SMALL, gradient, StreamDiffusion\n"
        "with StreamDiffusion(SMALL) as stream: stream(gradient())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_package_has_version_and_exports() -> None:
    assert dreamframe.__version__.count(".") == 2
    for name in dreamframe.__all__:
        assert hasattr(dreamframe, name), name
        offered = getattr(dreamframe, name)
        assert not inspect.isclass(offered) or offered.__doc__, name
