"""Sessions: a stream on its own thread, used from other threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dreamframe
from dreamframe import (
    ClosedError,
    InvalidArgumentError,
    InvalidFrameError,
    InvalidParamsError,
    Picture,
    Session,
    StreamDiffusion,
)

from conftest import SIDE, gradient, small_stream

LIMIT = 60.0


@pytest.fixture
def session(stream: StreamDiffusion) -> Iterator[Session]:
    with stream.start() as started:
        yield started


def restyled(session: Session, frame: Any = None) -> Picture:
    session.submit(gradient() if frame is None else frame)
    picture = session.wait(LIMIT)
    assert picture is not None
    return picture


def test_submitted_frame_produces_its_picture(session: Session) -> None:
    number = session.submit(gradient())
    picture = session.wait(LIMIT)
    assert picture is not None
    assert (number, picture.id, picture.source_id, picture.shape) == (0, 0, 0, (SIDE, SIDE, 4))
    assert session.poll() is None, "each picture is given once"
    assert session.wait(0.01) is None


def test_session_makes_the_same_pictures_as_calls(stream: StreamDiffusion, session: Session) -> None:
    frames = [np.roll(gradient(), 7 * index, axis=0) for index in range(4)]
    with small_stream() as other:
        for frame in frames:
            assert np.array_equal(restyled(session, frame), other(frame))


def test_frame_can_be_modified_after_submit(session: Session) -> None:
    frame = gradient()
    session.submit(frame)
    frame[:] = 0
    picture = session.wait(LIMIT)
    with small_stream() as other:
        assert picture is not None
        assert np.array_equal(picture, other(gradient()))


def test_submit_does_not_wait_and_replaces_a_waiting_frame() -> None:
    with small_stream(128, threads=1) as stream, stream.start() as session:
        last = [session.submit(gradient(128)) for _ in range(20)][-1]
        seen: Picture | None = None
        while seen is None or seen.id != last:
            seen = session.wait(LIMIT)
            assert seen is not None
        stats = session.stats()
        assert stats["submitted"]["total"] == 20
        assert stats["dropped"]["total"] > 0
        assert stats["dropped"]["total"] + stats["computed"]["total"] == 20


def test_updates_are_validated_immediately_and_applied_between_frames(session: Session) -> None:
    with pytest.raises(InvalidParamsError, match="guidance_scale"):
        session.update(guidance_scale=-1.0)
    ticket = session.update(prompt="blueprint")
    assert (ticket.version, ticket.cost) == (1, dreamframe.Cost.RECOMPUTE)
    assert [change.path for change in ticket.changes] == ["prompt"]
    assert session.params.prompt == "blueprint"
    assert session.wait_for(ticket, LIMIT) == "applied"
    assert session.active_version == 1
    assert restyled(session).version == 1


def test_update_that_fails_later_is_reported_and_rolled_back(session: Session) -> None:
    ticket = session.update(model_id="no/such-model", lora_dict={"no/such-lora": 1.0})
    with pytest.raises(dreamframe.DreamframeError, match="no/such-lora"):
        session.wait_for(ticket, LIMIT)
    kinds = [event.kind for event in session.events()]
    assert "update_rejected" in kinds
    assert session.params.lora_dict in (None, {})
    assert restyled(session).version == 0


def test_events_are_returned_once_and_in_order(session: Session) -> None:
    for delta in (0.5, 0.6):
        session.wait_for(session.update(delta=delta), LIMIT)
    first, second = session.wait_event(LIMIT), session.wait_event(LIMIT)
    assert first is not None
    assert second is not None
    assert [(event.kind, event.version) for event in (first, second)] == [("update_applied", 1), ("update_applied", 2)]
    assert session.events() == []
    assert session.wait_event(0.01) is None


def test_plan_and_edit_work_on_a_session(session: Session) -> None:
    assert session.plan(width=128).cost == dreamframe.Cost.REBUILD
    editing = session.edit()
    with editing as params:
        params.delta = 0.25
    assert editing.ticket is not None
    assert session.wait_for(editing.ticket, LIMIT) == "applied"
    assert session.params.delta == 0.25


def test_callback_receives_every_picture(stream: StreamDiffusion) -> None:
    got: list[Picture] = []
    there = threading.Event()

    def on_picture(picture: Picture) -> None:
        got.append(picture)
        there.set()

    with stream.start(on_picture=on_picture) as session:
        for number in range(3):
            there.clear()
            assert session.submit(gradient()) == number
            assert there.wait(LIMIT)
    assert [picture.id for picture in got] == [0, 1, 2]


def test_exception_in_a_callback_is_reported_and_the_session_continues(
    stream: StreamDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    again = threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_value))

    def on_picture(picture: Picture) -> None:
        if picture.id > 0:
            again.set()
        raise KeyError("of the callback")

    with stream.start(on_picture=on_picture) as session:
        while not again.is_set():
            session.submit(gradient())
            again.wait(0.01)
    assert "of the callback" in str(told[0])


def test_iteration_yields_pictures_until_the_session_ends(stream: StreamDiffusion) -> None:
    session = stream.start()
    got: list[int] = []

    def show() -> None:
        got.extend(picture.id for picture in session)

    shower = threading.Thread(target=show)
    shower.start()
    while not got:
        session.submit(gradient())
        session.wait_for(session.update(delta=0.5 if session.params.delta != 0.5 else 0.6), LIMIT)
    session.stop()
    shower.join(LIMIT)
    assert not shower.is_alive()
    assert got == sorted(got)


def test_stream_is_unavailable_while_its_session_runs(stream: StreamDiffusion) -> None:
    stream(gradient())
    session = stream.start()
    with pytest.raises(InvalidArgumentError, match="session"):
        stream(gradient())
    with pytest.raises(InvalidArgumentError, match="session"):
        stream.start()
    session.wait_for(session.update(delta=0.5), LIMIT)
    session.stop()
    assert stream.params.delta == 0.5
    assert stream(gradient()).kind == "new"
    with stream.start() as again:
        assert restyled(again).kind == "new"


def test_stopped_session_raises_closed_error(session: Session) -> None:
    session.stop()
    session.stop()
    assert not session.is_running
    assert session.wait(LIMIT) is None
    with pytest.raises(ClosedError):
        session.submit(gradient())
    with pytest.raises(ClosedError):
        session.update(delta=0.5)
    assert list(session) == []


def test_closing_a_stream_ends_its_session(stream: StreamDiffusion) -> None:
    session = stream.start()
    stream.close()
    with pytest.raises(ClosedError):
        session.submit(gradient())


def test_invalid_frame_is_rejected_by_submit(session: Session) -> None:
    with pytest.raises((InvalidFrameError, TypeError)):
        session.submit(gradient().astype(np.float32))
    assert restyled(session).id >= 0


def test_stats_count_frames_and_updates(session: Session) -> None:
    for _ in range(3):
        restyled(session)
    stats = session.stats()
    assert stats["computed"]["total"] == 3
    assert {stage["name"] for stage in stats["stages"]} >= {"unet", "decode", "frame"}
    assert all(stage["micros"]["median"] <= stage["micros"]["p95"] for stage in stats["stages"])
    assert stats["active_version"] == 0


def test_session_can_be_used_from_several_threads(session: Session) -> None:
    failed: list[BaseException] = []

    def feed(seed: int) -> None:
        try:
            for step in range(10):
                session.submit(gradient())
                session.poll()
                session.update(delta=0.1 + 0.01 * step + 0.2 * seed)
                session.stats()
                session.events()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=feed, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert failed == []
    assert session.stats()["submitted"]["total"] == 40
