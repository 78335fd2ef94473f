"""Threads: the GIL is released while a frame is processed, and Ctrl-C interrupts every wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dreamframe import ClosedError, InvalidArgumentError, Session, StreamDiffusion, StreamDiffusionParams

from conftest import gradient, small_stream

LIMIT = 60.0

sends_ctrl_c = pytest.mark.skipif(sys.platform == "win32", reason="os.kill() ends the process on Windows")


def test_gil_is_released_while_a_frame_is_processed() -> None:
    with small_stream(256, threads=1) as stream:
        stream(gradient(256))
        done = threading.Event()
        counted = 0

        def work() -> None:
            stream(gradient(256))
            done.set()

        worker = threading.Thread(target=work)
        # If the GIL were held, no other thread could run before the frame is done.
        interval = sys.getswitchinterval()
        worker.start()
        while not done.is_set():
            counted += 1
        worker.join()
    assert interval < 1
    assert counted > 10_000


def test_two_streams_run_concurrently() -> None:
    with small_stream(128, threads=1) as one, small_stream(128, threads=1) as two:
        inside: list[set[str]] = []
        working: set[str] = set()
        together = threading.Barrier(2)

        def run(name: str, stream: StreamDiffusion) -> None:
            together.wait(LIMIT)
            for _ in range(10):
                working.add(name)
                inside.append(set(working))
                stream(gradient(128))
                inside.append(set(working))
                working.discard(name)

        threads = [threading.Thread(target=run, args=pair) for pair in (("one", one), ("two", two))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert {"one", "two"} in inside, "while one is worked on, the other is too"


def test_calls_of_several_threads_are_serialized() -> None:
    with small_stream() as stream:
        ids: list[int] = []
        threads = [
            threading.Thread(target=lambda: ids.extend(stream(gradient()).id for _ in range(5))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert sorted(ids) == list(range(20))


def test_close_from_another_thread_yields_a_picture_or_an_error() -> None:
    for _ in range(3):
        stream = small_stream(128, threads=1)
        came: list[object] = []
        begun = threading.Event()

        def work(stream: StreamDiffusion = stream, came: list[object] = came, begun: threading.Event = begun) -> None:
            try:
                while True:
                    begun.set()
                    came.append(stream(gradient(128)).shape)
            except ClosedError as error:
                came.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        begun.wait(LIMIT)
        stream.close()
        worker.join(LIMIT)
        assert isinstance(came[-1], ClosedError)
        assert set(came[:-1]) <= {(128, 128, 4)}


# A program that receives Ctrl-C during a call: it prints how long the interrupt took to arrive.
PROGRAM = """
import itertools, os, signal, threading, time
from conftest import gradient, small_stream
from dreamframe import StreamDiffusion, StreamDiffusionParams

sent = []
def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

{setup}
threading.Timer({after}, interrupt).start()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - sent[0], flush=True)
"""

BIG = "stream = small_stream(512, threads=1, t_index_list=[20, 40]); frame = gradient(512); stream(frame)"
UNANSWERED = (
    "import dreamframe, socket; silent = socket.create_server(('127.0.0.1', 0)); "
    "url = f'http://127.0.0.1:{silent.getsockname()[1]}/'; "
)
CALLS = {
    "a frame": (BIG, "while True: stream(frame)"),
    "frames of an iterator": (BIG, "for _ in stream.frames(itertools.repeat(frame)): pass"),
    "waiting for a picture": ("session = small_stream().start()", "session.wait()"),
    "waiting for a picture for long": ("session = small_stream().start()", "session.wait(30.0)"),
    "waiting for an event": ("session = small_stream().start()", "session.wait_event()"),
    "iterating": ("session = small_stream().start()", "for _ in session: pass"),
    "waiting for a connection": (UNANSWERED + "publisher = dreamframe.publish(url)", "publisher.wait()"),
    "waiting for a frame": (UNANSWERED + "player = dreamframe.play(url)", "player.next(30.0)"),
    "iterating over frames": (UNANSWERED + "player = dreamframe.play(url)", "for _ in player: pass"),
    "loading models": (
        "params = StreamDiffusionParams.demo()",
        "while True: StreamDiffusion(params.model_copy(update={'width': 512, 'height': 512}), threads=1)",
    ),
    "a rebuild": (
        "stream = small_stream(threads=1)",
        "while True: [stream.update(width=side) for side in (512, 640, 384)]",
    ),
    "another thread at work": (
        BIG + "; threading.Thread(target=lambda: [stream(frame) for _ in range(200)], daemon=True).start()",
        "while True: stream(frame)",
    ),
}


@sends_ctrl_c
@pytest.mark.parametrize("what", CALLS)
def test_ctrl_c_interrupts_within_200_milliseconds(what: str) -> None:
    setup, call = CALLS[what]
    # Other processes may be using this machine, so one of several attempts has to pass.
    assert any(interrupted(setup, call, after) < 0.2 for after in (0.3, 0.45, 0.37))


def interrupted(setup: str, call: str, after: float) -> float:
    """Returns the seconds from the signal to the end of the call."""
    text = PROGRAM.format(setup=setup, call=call, after=after)
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=LIMIT
    )
    word, _, seconds = done.stdout.strip().partition(" ")
    assert word == "interrupted", done.stdout + done.stderr
    return float(seconds)


@sends_ctrl_c
def test_after_ctrl_c_the_stream_can_be_called_again() -> None:
    with small_stream(256, threads=1) as stream, small_stream(256, threads=1) as other:
        frame = gradient(256)
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        calls = 0
        with pytest.raises(KeyboardInterrupt):
            while True:
                stream(frame)
                calls += 1
        picture = stream(frame)
        for _ in range(picture.id):
            other(frame)
        assert np.array_equal(picture, other(frame)), "nothing is half done"


def test_program_exits_while_sessions_run() -> None:
    text = "from conftest import *\nsession = small_stream().start()\nsession.submit(gradient())\nprint('end')"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# A program ends even if it leaves objects open.
LEFT_OPEN = """
import socket
from conftest import *
import dreamframe
silent = socket.create_server(("127.0.0.1", 0))
server = dreamframe.serve(small_stream(), address="127.0.0.1:0")
publisher = dreamframe.publish(server.whip_url)
player = dreamframe.play(server.whep_url)
unanswered = dreamframe.publish(f"http://127.0.0.1:{{silent.getsockname()[1]}}/whip")
publisher.wait(timeout=60)
player.wait(timeout=60)
publisher.show(gradient())
player.next(60)
{last}
print("end", flush=True)
"""


@pytest.mark.parametrize(
    "last",
    [
        "",
        "import threading; threading.Thread(target=lambda: list(player), daemon=True).start()",
        "del server, publisher, player, unanswered",
    ],
    ids=["open", "waited for", "let go"],
)
def test_program_exits_while_connections_are_open(last: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN.format(last=last)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork()")
def test_forked_process_with_a_stream_exits() -> None:
    text = (
        "import os\nfrom conftest import *\nstream = small_stream()\nstream(gradient())\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0)\n"
        "print(os.waitpid(child, 0)[1], stream(gradient()).id)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (0, "0 1\n"), done.stderr


def test_frame_is_copied_before_other_python_threads_run() -> None:
    side = 2048
    shades = [bytes([shade]) * (side * side * 3) for shade in (0, 255)]
    pixels = bytearray(shades[0])
    frame = memoryview(pixels).cast("B", (side, side, 3))
    ended = threading.Event()

    def write() -> None:
        # One assignment holds the interpreter: a copy made with the interpreter held sees one shade only.
        while not ended.is_set():
            for shade in shades:
                memoryview(pixels)[:] = shade

    writer = threading.Thread(target=write)
    with small_stream(skip_diffusion=True) as stream, stream.start() as session:
        writer.start()
        try:
            for _ in range(8):
                session.submit(frame)
                picture = session.wait(LIMIT)
                assert picture is not None
                shown = np.asarray(picture)[..., :3]
                assert shown.min() == shown.max(), "the frame was written to while it was copied"
        finally:
            ended.set()
            writer.join(LIMIT)


def test_sessions_that_stop_each_other_in_callbacks_do_not_deadlock() -> None:
    sessions: list[Session] = []
    both_inside = threading.Barrier(2)
    stopped = threading.Semaphore(0)

    def stop(other: int) -> None:
        both_inside.wait(LIMIT)
        sessions[other].stop()
        stopped.release()

    with small_stream() as one, small_stream() as two:
        sessions.append(one.start(on_picture=lambda _: stop(1)))
        sessions.append(two.start(on_picture=lambda _: stop(0)))
        for session in sessions:
            session.submit(gradient())
        for _ in sessions:
            assert stopped.acquire(timeout=LIMIT), "two sessions wait for each other"


def test_use_of_a_stream_in_its_own_progress_callback_is_an_error() -> None:
    streams: list[StreamDiffusion] = []
    raised: list[Exception] = []

    def progress(*_: object) -> None:
        if streams and not raised:
            try:
                streams[0].update(delta=0.5)
            except InvalidArgumentError as error:
                raised.append(error)

    params = StreamDiffusionParams.demo().model_copy(update={"width": 64, "height": 64})
    with StreamDiffusion(params, progress=progress) as stream:
        streams.append(stream)
        done = threading.Thread(target=lambda: stream.update(width=128, height=128), daemon=True)
        done.start()
        done.join(LIMIT)
        assert not done.is_alive(), "the stream waits for itself"
    assert len(raised) == 1
    assert "progress" in str(raised[0])
