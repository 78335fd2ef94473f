"""WHIP and WHEP over loopback: published frames pass through a served stream to viewers."""

from __future__ import annotations

import gc
import pickle
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import dreamframe
from dreamframe import (
    ClosedError,
    Frame,
    InvalidArgumentError,
    InvalidFrameError,
    IoError,
    Player,
    Publisher,
    Server,
    StreamDiffusion,
    StreamDiffusionParams,
)

from conftest import SIDE, gradient, small_stream

LIMIT = 60.0
RED, GREEN, BLUE = (200, 40, 40), (40, 160, 40), (40, 40, 200)


def plain(color: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.full((SIDE, SIDE, 3), color, np.uint8)


def serve(stream: Any = None, **options: Any) -> Server:
    return dreamframe.serve(stream, address="127.0.0.1:0", **options)


@pytest.fixture
def passing() -> Iterator[Server]:
    """Creates a server whose pictures are the frames themselves."""
    with small_stream(skip_diffusion=True) as stream, serve(stream) as server:
        yield server


def shown(publisher: Publisher, player: Player, frame: Any, wanted: Callable[[Frame], bool]) -> Frame:
    """Returns the first picture that satisfies a condition, while showing a frame repeatedly."""
    for _ in range(2000):
        publisher.show(frame)
        picture = player.next(0.05)
        if picture is not None and wanted(picture):
            return picture
    raise AssertionError(f"no such picture came: {publisher!r}, {player!r}, {publisher.error}, {player.error}")


def is_plain(color: tuple[int, int, int]) -> Callable[[Frame], bool]:
    """Returns whether a picture has one colour; video coding changes each colour slightly."""
    return lambda frame: bool((abs(frame[..., :3].astype(int) - color) < 12).all())


def test_published_frames_reach_viewers(passing: Server) -> None:
    with dreamframe.publish(passing.whip_url) as publisher, dreamframe.play(passing.whep_url) as player:
        for color in (RED, GREEN, BLUE):
            frame = shown(publisher, player, plain(color), is_plain(color))
            assert (frame.shape, frame.dtype, frame.order) == ((SIDE, SIDE, 4), np.uint8, "rgba")
            assert frame.flags.owndata
            assert (frame[..., 3] == 255).all()
        assert (publisher.state, player.state) == ("connected", "connected")
        assert (passing.publishing, passing.viewers) == (True, 1)
        assert publisher.playback_url == passing.whep_url
        assert publisher.error is None
        assert player.error is None
    assert (publisher.state, player.state) == ("closed", "closed")
    assert (passing.publishing, passing.viewers) == (False, 0)


def test_demo_model_restyles_published_frames(stream: StreamDiffusion) -> None:
    with (
        serve(stream) as server,
        dreamframe.publish(server.whip_url) as publisher,
        dreamframe.play(server.whep_url) as player,
    ):
        before = shown(publisher, player, gradient(), lambda frame: frame[..., :3].std() > 20)
        ticket = server.update(prompt="blueprint")
        assert server.session.wait_for(ticket, LIMIT) == "applied"
        assert server.params.prompt == "blueprint"
        after = shown(publisher, player, gradient(), lambda frame: abs(frame.astype(int) - before).mean() > 8)
        with server.edit() as params:
            params.delta = 0.5
        assert server.params.delta == 0.5
        assert after.shape == before.shape == (SIDE, SIDE, 4)


@pytest.mark.parametrize("output", ["rgb", "rgba", "bgra"])
def test_frames_have_the_requested_channel_order(output: Any, passing: Server) -> None:
    red = {"rgb": RED, "rgba": RED, "bgra": RED[::-1]}[output]
    with (
        dreamframe.publish(passing.whip_url) as publisher,
        dreamframe.play(passing.whep_url, output=output) as player,
    ):
        frame = shown(publisher, player, plain(RED), is_plain(red))
    assert (frame.order, frame.shape[2]) == (output, len(output))
    assert (abs(np.asarray(frame.to_pil()).astype(int) - RED) < 12).all()
    assert frame._repr_png_() is not None
    again = pickle.loads(pickle.dumps(frame))
    assert isinstance(again, Frame)
    assert np.array_equal(again, frame)
    assert again.order == output
    assert type(frame / 2) is np.ndarray


class Tensor:
    """Pixels that support DLPack only."""

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize(
    "made",
    [
        lambda array: array,
        lambda array: np.dstack([array, np.zeros_like(array[..., :1])]),
        lambda array: array[:, ::-1],
        Image.fromarray,
        memoryview,
        Tensor,
    ],
    ids=["RGB", "RGBA", "turned", "PIL", "buffer", "DLPack"],
)
def test_every_form_of_frame_can_be_published(made: Callable[[Any], Any], passing: Server) -> None:
    with dreamframe.publish(passing.whip_url) as publisher, dreamframe.play(passing.whep_url) as player:
        shown(publisher, player, made(plain(GREEN)), is_plain(GREEN))
        with pytest.raises(InvalidFrameError):
            publisher.show(plain(GREEN).astype(np.float32))


def test_frames_can_be_submitted_to_a_servers_session(passing: Server) -> None:
    with dreamframe.play(passing.whep_url) as player:
        for _ in range(2000):
            passing.session.submit(plain(BLUE))
            frame = player.next(0.05)
            if frame is not None and is_plain(BLUE)(frame):
                return
    raise AssertionError("the frame was not seen")


def test_player_passes_frames_to_a_session_directly(passing: Server) -> None:
    with (
        small_stream(skip_diffusion=True) as stream,
        stream.start() as session,
        dreamframe.publish(passing.whip_url) as publisher,
        dreamframe.play(passing.whep_url, into=session) as player,
    ):
        for _ in range(2000):
            publisher.show(plain(RED))
            picture = session.wait(0.05)
            if picture is not None and is_plain(RED)(picture):
                break
        else:
            raise AssertionError("the frame was not seen")
        for ask in (player.poll, player.next, lambda: next(player)):
            with pytest.raises(InvalidArgumentError, match="go to a session"):
                ask()


def test_stats_count_frames_and_bytes(passing: Server) -> None:
    with dreamframe.publish(passing.whip_url, bitrate=500_000) as publisher:
        with dreamframe.play(passing.whep_url) as player:
            shown(publisher, player, plain(RED), is_plain(RED))
            (viewer,), of_publisher, of_player = passing.stats()["viewers"], publisher.stats(), player.stats()
            assert viewer["packets_out"] > 0
            assert of_publisher["egress"]["encoded"]["total"] > 0
            assert of_publisher["egress"]["bitrate"] == 500_000
            assert of_publisher["peer"] is not None
            assert of_publisher["peer"]["codec_out"] == "h264"
            assert of_player is not None
            assert of_player["video_in"] is not None
            assert (of_player["video_in"]["width"], of_player["codec_in"]) == (SIDE, "h264")
            stats = passing.stats()
            assert stats["publisher"] is not None
            assert stats["publisher"]["bytes_in"] > 0
            assert stats["session"]["passed"]["total"] > 0
            assert stats["egress"]["viewers"] == 1
            for name in ("egress", "session"):
                kind: Any = {"egress": dreamframe.EgressStats, "session": dreamframe.Stats}[name]
                assert set(stats[name]) == set(kind.__annotations__)
            assert set(viewer) == set(dreamframe.PeerStats.__annotations__)
            assert set(of_player["video_in"]) == set(dreamframe.IngestStats.__annotations__)
        assert player.stats() is None, "there is no connection any more"
        assert passing.stats()["viewers"] == []


def test_wrong_token_is_rejected() -> None:
    with small_stream() as stream, serve(stream, token="right") as server:
        for token in (None, "wrong"):
            with dreamframe.publish(server.whip_url, token=token) as publisher:
                publisher.wait("failed", LIMIT)
                assert isinstance(publisher.error, InvalidArgumentError)
                with pytest.raises(ClosedError, match="401"):
                    publisher.wait()
                with pytest.raises(ClosedError, match="given up.*401"):
                    publisher.show(gradient())
            with dreamframe.play(server.whep_url, token=token) as player:
                with pytest.raises(ClosedError, match="given up.*401"):
                    player.next(LIMIT)
                with pytest.raises(ClosedError, match="401"):
                    list(player)
        with dreamframe.publish(server.whip_url, token="right") as publisher:
            publisher.wait(timeout=LIMIT)


def test_client_gives_up_after_the_given_number_of_attempts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    # The port is closed.
    with dreamframe.publish(f"{address}/whip", attempts=1) as publisher:
        with pytest.raises(ClosedError, match=r"state of the client: got failed, expected connected: .*no answer from"):
            publisher.wait(timeout=LIMIT)
        assert isinstance(publisher.error, IoError)
    with dreamframe.publish(f"{address}/whip") as publisher:
        with pytest.raises(dreamframe.TimeoutError, match="state of the client: still connecting, expected connected"):
            publisher.wait(timeout=0.1)
        assert publisher.state == "connecting"


def test_stream_can_be_called_after_its_server_stopped(stream: StreamDiffusion) -> None:
    with serve(stream) as server:
        assert server.is_running
        with pytest.raises(InvalidArgumentError, match="session"):
            stream(gradient())
        with pytest.raises(InvalidArgumentError, match="session"):
            serve(stream)
        assert server.session.wait_for(server.update(delta=0.5), LIMIT) == "applied"
    server.stop()
    assert not server.is_running
    with pytest.raises(ClosedError):
        server.update(delta=0.6)
    assert stream.params.delta == 0.5
    assert stream(gradient()).kind == "new"
    with serve(stream):
        pass


def test_address_in_use_leaves_the_stream_usable(stream: StreamDiffusion) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(IoError, match=f"failed to listen at {address}"):
            dreamframe.serve(stream, address=address)
    assert stream(gradient()).kind == "new"


def test_stream_created_for_a_server_closes_with_it() -> None:
    params = StreamDiffusionParams.demo().model_copy(update={"width": 384, "height": 384, "prompt": "blueprint"})
    with serve(params) as server:
        assert server.params == params
        assert server.port == int(server.whip_url.split(":")[2].split("/")[0])
        assert "running" in repr(server)
    assert "stopped" in repr(server)
    with pytest.raises(ClosedError):
        server.session.submit(gradient())


def test_urls_use_the_given_public_url(stream: StreamDiffusion) -> None:
    with serve(stream, public_url="https://host.example/", ports=(40000, 50000), viewers=1) as server:
        assert server.whip_url == "https://host.example/whip"
        assert server.whep_url == "https://host.example/whep"


def status_for(url: str, **headers: str) -> tuple[int, str | None]:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - an address of a server of this test
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
            return answer.status, answer.headers["Access-Control-Allow-Origin"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Access-Control-Allow-Origin"]


def test_other_origins_need_a_token_or_an_entry_in_allow_origins(stream: StreamDiffusion) -> None:
    app, hostile, local = "https://app.example", "https://hostile.example", "http://localhost:3000"
    with serve(stream, allow_origins=[app]) as server:
        assert status_for(server.whep_url, Origin=app) == (200, app)
        assert status_for(server.whep_url, Origin=local) == (200, local)
        assert status_for(server.whep_url, Origin=hostile) == (403, None)
        assert status_for(server.whep_url, Host="hostile.example") == (403, None)
    with serve(stream, token="a token") as server:
        assert status_for(server.whep_url, Origin=hostile, Authorization="Bearer a token") == (200, "*")


def test_publisher_player_and_server_work_from_different_threads(passing: Server) -> None:
    failed: list[BaseException] = []
    seen: list[int] = []
    enough = threading.Event()

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)
                enough.set()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def show() -> None:
        while not enough.is_set():
            publisher.show(plain(RED))
            # A frame rate, not a wait for a condition.
            enough.wait(0.02)

    def watch() -> None:
        for frame in player:
            seen.append(frame.width)
            if len(seen) == 20:
                enough.set()

    def change() -> None:
        while not enough.is_set():
            passing.update(delta=0.5 if passing.params.delta != 0.5 else 0.6)
            assert passing.stats()["egress"]["viewers"] <= 1
            assert publisher.state in ("connecting", "connected")
            enough.wait(0.02)

    with dreamframe.publish(passing.whip_url) as publisher, dreamframe.play(passing.whep_url) as player:
        threads = [run(work) for work in (show, show, watch, change)]
        assert enough.wait(LIMIT)
        player.stop()
        for thread in threads:
            thread.join(LIMIT)
    assert failed == []
    assert len(seen) >= 20
    assert set(seen) == {SIDE}


@pytest.mark.parametrize("wait", ["next", "iterate", "wait"])
def test_stop_wakes_waiting_threads(wait: str) -> None:
    told: list[object] = []
    begun = threading.Event()

    def work() -> None:
        begun.set()
        try:
            told.append({"next": player.next, "iterate": lambda: list(player), "wait": player.wait}[wait]())
        except ClosedError as error:
            told.append(str(error))

    # Connections are not answered.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        player = dreamframe.play(f"http://127.0.0.1:{silent.getsockname()[1]}/whep")
        waiting = threading.Thread(target=work)
        waiting.start()
        assert begun.wait(LIMIT)
        # From two threads simultaneously, and once more.
        stopping = threading.Thread(target=player.stop)
        stopping.start()
        player.stop()
        stopping.join(LIMIT)
        player.stop()
        waiting.join(LIMIT)
    assert told == [{"next": None, "iterate": [], "wait": "state of the client: got closed, expected connected"}[wait]]
    assert player.poll() is None
    assert repr(player) == "<Player closed>"


def test_unreferenced_connections_end() -> None:
    with small_stream() as stream:
        server = serve(stream)
        publisher = dreamframe.publish(server.whip_url)
        publisher.wait(timeout=LIMIT)
        session = server.session
        del publisher
        gc.collect()
        gone = threading.Event()
        for _ in range(2000):
            if not server.publishing:
                break
            gone.wait(0.01)
        assert not server.publishing
        del server
        gc.collect()
        session.stop()
        assert stream(gradient()).kind == "new"
