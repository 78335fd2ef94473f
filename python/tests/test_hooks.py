"""Callables of the host in an engine: processors, the safety checker, style images."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dreamframe
from dreamframe import InvalidArgumentError, IoError, ProcessorContext, StreamDiffusion, StreamDiffusionParams

from conftest import SIDE, gradient

LIMIT = 60.0
SHAPES = "expected height x width x 3, or height x width"
STYLE = "https://example.invalid/style.png"


def stream_of(processors: Any = None, *, chain: str = "image_postprocessing", **options: Any) -> StreamDiffusion:
    """A stream that returns its frames, after a processor of the host."""
    processor = {"type": "external", "params": {"validate_input": False}}
    params = StreamDiffusionParams.demo(
        width=SIDE, height=SIDE, skip_diffusion=True, **{chain: {"processors": [processor]}}
    )
    return StreamDiffusion(params, threads=2, processors=processors, **options)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The exceptions that callbacks raised."""
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(unraisable.exc_value))
    return raised


def test_processor_receives_an_image_and_its_settings_and_its_result_is_the_picture() -> None:
    calls: list[tuple[Any, ProcessorContext]] = []

    def invert(image: Any, context: ProcessorContext) -> Any:
        calls.append((image, context))
        return 1 - image

    frame = gradient(channels=3)
    with stream_of({"external": invert}) as stream:
        first, second = stream(frame), stream(frame)
    image, context = calls[0]
    assert (image.shape, image.dtype) == ((SIDE, SIDE, 3), np.float32)
    assert np.abs(image * 255 - frame).max() < 1
    assert context.settings == {"validate_input": False}
    assert context.size == (SIDE, SIDE)
    assert context.previous is None
    assert calls[1][1].previous is not None
    assert np.abs(first.astype(int) - (255 - frame)).max() <= 1
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    "result",
    [
        lambda image: np.full(image.shape, 51, np.uint8),
        lambda image: Image.new("RGB", (SIDE, SIDE), (51, 51, 51)),
        lambda image: np.full((SIDE, SIDE), 0.2),
        lambda image: np.full((SIDE // 2, 2 * SIDE, 3), 0.2, np.float16),
        lambda image: np.full((3, SIDE, SIDE), 0.2, np.float32).transpose(1, 2, 0),
    ],
    ids=["uint8", "PIL", "grey", "another size", "not contiguous"],
)
def test_processor_may_return_any_array_of_an_image(result: Any) -> None:
    with stream_of({"external": lambda image, _: result(image)}) as stream:
        picture = stream(gradient(channels=3))
    assert picture.shape == (SIDE, SIDE, 3)
    assert np.abs(np.asarray(picture).astype(int) - 51).max() <= 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((SIDE, SIDE, 4)), "shape of the result: got 64 x 64 x 4, " + SHAPES),
        (np.zeros((0, SIDE, 3)), "shape of the result: got 0 x 64 x 3, " + SHAPES),
        (np.zeros((SIDE, SIDE, 3), int), "type of the result: got int64, expected float32 in 0..1, or uint8"),
        (np.full((SIDE, SIDE, 3), np.nan), "result: got a value that is not finite, expected numbers from 0 to 1"),
        (None, "type of the result: got object, expected float32 in 0..1, or uint8"),
    ],
    ids=["channels", "empty", "type", "nan", "none"],
)
def test_image_stays_as_it_was_after_a_bad_result(result: Any, message: str, reported: list[BaseException]) -> None:
    frame = gradient(channels=3)
    with stream_of({"external": lambda image, context: result}) as stream:
        assert np.abs(stream(frame).astype(int) - frame).max() <= 1
    assert [str(error) for error in reported] == [message]


def test_exception_of_a_processor_is_reported_and_pictures_go_on(reported: list[BaseException]) -> None:
    def fail(image: Any, context: ProcessorContext) -> Any:
        raise RuntimeError("no")

    frame = gradient(channels=3)
    with stream_of({"external": fail}) as stream:
        assert np.abs(stream(frame).astype(int) - frame).max() <= 1
        with stream.start() as session:
            session.submit(frame)
            assert session.wait(LIMIT) is not None
    assert [str(error) for error in reported] == ["no", "no"]


def test_processor_of_a_control_chain_before_the_stream_is_called() -> None:
    seen: list[tuple[int, ...]] = []

    def note(image: Any, context: ProcessorContext) -> Any:
        seen.append(image.shape)
        return image

    with stream_of({"external": note}, chain="image_preprocessing") as stream:
        stream(gradient())
        stream(gradient())
    assert seen == [(SIDE, SIDE, 3)] * 2


@pytest.mark.parametrize(
    ("processors", "error", "message"),
    [
        ({"unknown": print}, InvalidArgumentError, 'processors: got "unknown", expected one of blur, canny'),
        ({"external": 1}, TypeError, "processors[\"external\"]: got 1, expected a callable"),
        ({1: print}, TypeError, "processors: got 1, expected text"),
        ([print], TypeError, "expected a mapping of names to callables, or None"),
    ],
    ids=["name", "not callable", "not text", "not a mapping"],
)
def test_wrong_processors_are_refused(processors: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        stream_of(processors)
    assert message in str(raised.value)


@pytest.mark.parametrize("option", ["safety_checker", "style_images", "face_embeddings"])
def test_hooks_have_to_be_callable(option: str) -> None:
    with pytest.raises(TypeError, match=f"{option}: got 1, expected a callable"):
        StreamDiffusion(**{option: 1})  # type: ignore[arg-type]


def test_stream_cannot_be_used_or_ended_in_its_own_callbacks(reported: list[BaseException]) -> None:
    streams: list[StreamDiffusion] = []
    sessions: list[dreamframe.Session] = []

    def use(image: Any, context: ProcessorContext) -> Any:
        for call in [lambda: streams[0](gradient()), streams[0].close, *(session.stop for session in sessions)]:
            with pytest.raises(InvalidArgumentError):
                call()
        return image

    with stream_of({"external": use}) as stream:
        streams.append(stream)
        assert stream(gradient()).kind == "passed"
        with stream.start() as session:
            sessions.append(session)
            session.submit(gradient())
            assert session.wait(LIMIT) is not None
    assert reported == []


def test_session_that_a_callback_collects_ends_in_the_background() -> None:
    held: list[Any] = []
    is_held, is_dropped = threading.Event(), threading.Event()

    def drop(image: Any, context: ProcessorContext) -> Any:
        assert is_held.wait(LIMIT)
        held.clear()
        is_dropped.set()
        return image

    stream = stream_of({"external": drop})
    session = stream.start()
    session.submit(gradient())
    held.append(session)
    del session
    is_held.set()
    # It does not wait for the thread of the session, which is the one that drops it.
    assert is_dropped.wait(LIMIT)
    stream.close()


def checked(checker: Any, **options: Any) -> StreamDiffusion:
    params = StreamDiffusionParams.demo(
        width=SIDE, height=SIDE, skip_diffusion=False, use_safety_checker=True, safety_checker_threshold=0.5
    )
    return StreamDiffusion(params, threads=2, safety_checker=checker, **options)


def test_safety_checker_scores_each_picture_and_flags_it() -> None:
    scores = iter([0.1, 0.9, 0.5, 0.0])
    images: list[Any] = []

    def score(image: Any) -> float:
        images.append(image)
        return next(scores)

    with checked(score) as stream:
        pictures = [stream(gradient(channels=3)) for _ in range(4)]
    assert [picture.kind for picture in pictures] == ["new", "flagged", "flagged", "new"]
    assert np.array_equal(pictures[1], pictures[0])
    assert (images[0].shape, images[0].dtype) == ((SIDE, SIDE, 3), np.float32)
    assert np.abs(images[0] * 255 - pictures[0]).max() <= 1


def test_flagged_pictures_can_be_black() -> None:
    with checked(lambda image: 1.0, flagged="black") as stream:
        assert (stream(gradient(channels=3)) == 0).all()


@pytest.mark.parametrize("result", ["x", None, 1.5, float("nan")])
def test_picture_is_flagged_after_a_bad_score(result: Any, reported: list[BaseException]) -> None:
    with checked(lambda image: result, flagged="black") as stream:
        picture = stream(gradient(channels=3))
    assert (picture.kind, int(picture.max())) == ("flagged", 0)
    assert len(reported) == 1


def jpeg(colour: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 30), colour).save(file, "JPEG")
    return file.getvalue()


def styled(style_images: Any) -> StreamDiffusion:
    changes: dict[str, Any] = {"ip_adapter": {"enabled": True}, "ip_adapter_style_image_url": STYLE}
    params = StreamDiffusionParams.demo(width=SIDE, height=SIDE, **changes)
    return StreamDiffusion(params, threads=2, packed_cache="off", style_images=style_images)


def test_style_images_come_as_bytes_arrays_or_images() -> None:
    urls: list[str] = []
    array = np.full((30, 20, 3), (200, 40, 10), np.uint8)
    sources: dict[str, Any] = {
        "array": array,
        "with alpha": np.dstack([array, np.full((30, 20), 9, np.uint8)]),
        "PIL": Image.fromarray(array),
        "file": io.BytesIO(dreamframe._picture.encode_png(array)),
        "other": jpeg((10, 40, 200)),
    }
    pictures: dict[str, Any] = {}
    for name, source in sources.items():
        with styled(lambda url, source=source: urls.append(url) or source) as stream:
            pictures[name] = stream(gradient())
    assert urls == [STYLE] * len(sources)
    for name in ("with alpha", "PIL", "file"):
        assert np.array_equal(pictures[name], pictures["array"]), name
    assert not np.array_equal(pictures["other"], pictures["array"])


def test_exception_of_style_images_rejects_the_update_and_is_the_cause() -> None:
    failures = iter([jpeg((9, 9, 9)), OSError("no network"), ValueError("no image")])

    def source(url: str) -> bytes:
        answer = next(failures)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with styled(source) as stream:
        before = stream(gradient())
        with pytest.raises(IoError, match="`style_images` failed: OSError: no network") as error:
            stream.update(ip_adapter_style_image_url=STYLE + "?1")
        assert isinstance(error.value.__cause__, OSError)
        with pytest.raises(InvalidArgumentError, match="ValueError: no image") as other:
            stream.update(ip_adapter_style_image_url=STYLE + "?2")
        assert isinstance(other.value.__cause__, ValueError)
        assert stream.params.ip_adapter_style_image_url == STYLE
        assert np.array_equal(stream(gradient()), before)


EXIT = """
import atexit, sys, threading
sys.path.insert(0, {tests!r})
from conftest import gradient
from test_hooks import stream_of

inside, calls = threading.Event(), []

def wait(image, context):
    inside.set()
    calls.append(image.shape)
    return image

stream = stream_of({{"external": wait}})
session = stream.start()

def submit():
    while True:
        try:
            session.submit(gradient())
        except Exception:
            return

threading.Thread(target=submit, daemon=True).start()
assert inside.wait(60)
print("leaving", flush=True)
"""


def test_interpreter_exits_while_a_processor_is_called() -> None:
    program = EXIT.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout.strip()) == (0, "leaving"), done.stderr
