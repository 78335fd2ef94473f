"""Asynchronous iteration, and the live view of notebooks."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dreamframe import ClosedError, InvalidArgumentError, StreamDiffusion
from dreamframe.notebook import LiveView

from conftest import SIDE, gradient, small_stream

LIMIT = 60.0


def frames(count: int) -> list[Any]:
    return [np.roll(gradient(), 5 * index, axis=1) for index in range(count)]


async def arriving(count: int) -> AsyncIterator[Any]:
    for frame in frames(count):
        await asyncio.sleep(0)
        yield frame


SOURCES = {"list": frames, "iterator": lambda count: iter(frames(count)), "async": arriving}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_aframes_yields_the_picture_of_each_frame(source: Any) -> None:
    async def collect() -> list[Any]:
        with small_stream() as stream:
            return [picture async for picture in stream.aframes(source(3))]

    pictures = asyncio.run(collect())
    with small_stream() as stream:
        expected = list(stream.frames(frames(3)))
    assert len(pictures) == 3
    assert all(np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True))


def test_event_loop_runs_while_a_picture_is_made() -> None:
    async def count(stream: StreamDiffusion) -> int:
        turns = 0
        pictures = stream.aframes([gradient()])
        waiting = asyncio.ensure_future(pictures.__anext__())
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0)
        await waiting
        return turns

    with small_stream() as stream:
        assert asyncio.run(count(stream)) > 10


def test_errors_are_raised_in_async_for() -> None:
    async def consume(stream: StreamDiffusion) -> None:
        async for _ in stream.aframes([gradient()]):
            pass

    stream = small_stream()
    stream.close()
    with pytest.raises(ClosedError):
        asyncio.run(consume(stream))


def test_session_is_iterated_until_it_ends() -> None:
    async def run(stream: StreamDiffusion) -> list[int]:
        session = stream.start()
        ids: list[int] = []
        ids.append(session.submit(gradient()))
        seen: list[int] = []
        async for picture in session:
            seen.append(picture.id)
            if len(seen) == 3:
                await asyncio.to_thread(session.stop)
            else:
                session.submit(gradient())
        return seen

    with small_stream() as stream:
        assert asyncio.run(run(stream)) == [0, 1, 2]


def test_cancelled_task_leaves_the_session_running() -> None:
    async def run(stream: StreamDiffusion) -> bool:
        with stream.start() as session:

            async def wait() -> None:
                async for _ in session:
                    pass

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            session.submit(gradient())
            return await asyncio.to_thread(session.wait, LIMIT) is not None

    with small_stream() as stream:
        assert asyncio.run(run(stream))


class Handle:
    """What a cell of a notebook would show."""

    handles: list[Handle] = []

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.threads: list[Any] = []
        self.handles.append(self)

    def display(self, data: dict[str, Any], *, raw: bool) -> None:
        assert raw
        self.shown.append(data)
        self.threads.append(threading.current_thread())

    update = display


@pytest.fixture
def handles(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    display = ModuleType("IPython.display")
    display.DisplayHandle = Handle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(Handle, "handles", [])
    return Handle.handles


def test_live_view_shows_pictures_in_place_of_each_other(handles: list[Handle]) -> None:
    with small_stream() as stream:
        view = LiveView(stream.frames(frames(3)), fps=60.0)
        assert view.wait(LIMIT)
        assert not view.is_running
    (handle,) = handles
    assert handle.shown[0] == {"text/plain": "<LiveView: no picture yet>"}
    assert handle.threads[0] is threading.current_thread(), "below the cell that created it"
    assert 1 <= view.shown <= 3
    assert len(handle.shown) == 1 + view.shown
    for data in handle.shown[1:]:
        assert data["image/png"].startswith(b"\x89PNG")
        assert data["text/plain"] == f"<Picture {SIDE}x{SIDE}>"


def test_live_view_of_a_session_ends_with_it_or_when_stopped(handles: list[Handle]) -> None:
    with small_stream() as stream:
        session = stream.start()
        view = LiveView(session, fps=60.0)
        session.submit(gradient())
        while view.shown == 0:
            assert view.wait(0.01) is False
        view.stop()
        assert not view.is_running
        assert session.is_running
        with LiveView(session) as other:
            session.stop()
            assert other.wait(LIMIT)


def test_live_view_raises_what_ended_it(handles: list[Handle]) -> None:
    def failing() -> Iterator[Any]:
        raise RuntimeError("no camera")
        yield

    view = LiveView(failing())
    with pytest.raises(RuntimeError, match="no camera"):
        view.wait(LIMIT)
    assert view.wait(LIMIT), "once"


@pytest.mark.parametrize("fps", [0, -1, 61, float("nan")])
def test_live_view_refuses_a_wrong_rate(fps: float, handles: list[Handle]) -> None:
    with pytest.raises(InvalidArgumentError, match="expected more than 0 and at most 60"):
        LiveView([], fps=fps)
