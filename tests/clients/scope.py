"""A client of Scope's API on aiortc, which is Scope's own WebRTC stack: `python scope.py BASE`."""

import asyncio
import io
import json
import sys

import frames
import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from av import open as av_open

SECONDS = 300


class Session:
    """A browser's part: one connection with video both ways and the data channel."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.peer = RTCPeerConnection()
        self.track = frames.Numbered()
        self.peer.addTransceiver(self.track, direction="sendrecv")
        self.channel = self.peer.createDataChannel("parameters", ordered=True)
        self.messages: asyncio.Queue[dict] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.channel.on("open", self.opened.set)
        self.channel.on("message", lambda text: self.messages.put_nowait(json.loads(text)))
        self.id = ""

    async def start(self, parameters: dict) -> None:
        """Offers, and sends a candidate before it takes the answer, as Scope's page does."""
        await self.peer.setLocalDescription(await self.peer.createOffer())
        body = {"sdp": self.peer.localDescription.sdp, "type": "offer", "initialParameters": parameters}
        reply = await self.client.post("/api/v1/webrtc/offer", json=body)
        assert reply.status_code == 200, reply.text
        answer = reply.json()
        self.id = answer["sessionId"]
        line = next(line for line in body["sdp"].splitlines() if line.startswith("a=candidate:"))
        candidate = {"candidate": line[2:], "sdpMid": "0", "sdpMLineIndex": 0}
        patch = await self.client.patch(f"/api/v1/webrtc/offer/{self.id}", json={"candidates": [candidate]})
        assert patch.status_code == 204, patch.text
        assert "a=msid:" in answer["sdp"]
        await self.peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await self.opened.wait()

    async def say(self, message: dict | str) -> dict:
        """Sends a message; its answer."""
        self.channel.send(message if isinstance(message, str) else json.dumps(message))
        while True:
            answer = await self.messages.get()
            if answer["type"] in ("parameters_applied", "error"):
                return answer

    async def numbers(self, count: int) -> list[int]:
        """The numbers of the next pictures that have one."""
        track, seen = self.peer.getReceivers()[0].track, []
        while len(seen) < count:
            number = frames.number((await track.recv()).to_ndarray(format="rgb24"))
            if number is not None and number not in seen:
                seen.append(number)
        return seen


async def loaded(client: httpx.AsyncClient) -> None:
    """Loads the pipeline that gives frames back, and waits for it."""
    params = {"width": frames.SIDE, "height": frames.SIDE, "quantization": None, "base_seed": 42}
    reply = await client.post("/api/v1/pipeline/load", json={"pipeline_ids": ["passthrough"], "load_params": params})
    assert reply.status_code == 200 and "message" in reply.json(), reply.text
    while (status := (await client.get("/api/v1/pipeline/status")).json())["status"] != "loaded":
        assert status["status"] == "loading", status
        await asyncio.sleep(0.2)
    assert status["pipeline_id"] == "passthrough" and status["load_params"] == params


async def with_a_browser(client: httpx.AsyncClient) -> None:
    """Video there and back, and every message of the channel."""
    session = Session(client)
    await session.start({"prompts": [{"text": "a harbour", "weight": 100}], "input_mode": "video", "noise_scale": 0.5})
    numbers = await session.numbers(20)
    assert numbers == sorted(numbers) and set(numbers) <= set(session.track.sent), numbers

    answer = await session.say({"prompts": [{"text": "ink sketch", "weight": 1.0}], "vace_enabled": True})
    assert answer["parameters"]["prompt"] == [["ink sketch", 1.0]] and answer["ignored"] == ["vace_enabled"], answer
    way = {"target_prompts": [{"text": "neon"}], "num_steps": 24, "temporal_interpolation_method": "slerp"}
    answer = await session.say({"transition": way})
    assert answer["parameters"]["prompt"] == [["neon", 1.0]], answer
    # The previous noise scale still determines the start of the list.
    answer = await session.say({"denoising_step_list": [800, 500]})
    assert answer["parameters"]["t_index_list"] == [25, 34], answer
    answer = await session.say({"noise_scale": 0.8})
    assert answer["parameters"]["t_index_list"] == [10, 25], answer
    assert (await session.say({"noise_scale": 7}))["type"] == "error"
    assert (await session.say("no JSON"))["type"] == "error"

    # A change made elsewhere is reported here.
    reply = await client.post("/api/v1/session/parameters", json={"prompts": [{"text": "from afar"}]})
    assert reply.status_code == 200, reply.text
    while (notice := await session.messages.get())["type"] != "parameters_updated":
        pass
    assert notice["parameters"]["prompt"] == [["from afar", 1.0]], notice

    assert (await session.say({"paused": True}))["parameters"] == {"paused": True}
    await asyncio.sleep(1)
    stopped = max(session.track.sent)
    assert (await session.say({"paused": False}))["parameters"] == {"paused": False}
    later = await session.numbers(30)
    # But for what was under way at its begin and its end, no frame of the pause has become a picture.
    paused = [number for number in later if stopped - 8 <= number <= stopped - 2]
    assert max(later) > stopped and not paused, (stopped, later)

    assert (await client.delete(f"/api/v1/webrtc/offer/{session.id}")).status_code == 204
    for gone in (client.delete, client.patch):
        body = {} if gone == client.delete else {"json": {"candidates": []}}
        assert (await gone(f"/api/v1/webrtc/offer/{session.id}", **body)).status_code == 404
    await session.peer.close()


async def pictures(client: httpx.AsyncClient) -> int:
    """How many pictures the only session has made."""
    (metrics,) = (await client.get("/api/v1/session/metrics")).json()["sessions"].values()
    return metrics["frames_out"]


async def without_a_browser(client: httpx.AsyncClient) -> None:
    """What Scope's MCP server calls."""
    assert (await client.get("/api/v1/session/frame")).status_code == 404
    assert (await client.post("/api/v1/session/stop")).status_code == 404
    assert (await client.post("/api/v1/session/start", json={})).status_code == 422
    start = {"pipeline_id": "streamdiffusion", "input_mode": "text", "prompts": [{"text": "a tree", "weight": 1}]}
    reply = await client.post("/api/v1/session/start", json=start)
    assert reply.status_code == 200 and reply.json()["status"] == "ok", reply.text
    while (frame := await client.get("/api/v1/session/frame", params={"quality": 70})).status_code == 404:
        await asyncio.sleep(0.2)
    assert frame.headers["content-type"] == "image/jpeg", frame.text
    picture = next(av_open(io.BytesIO(frame.content)).decode(video=0))
    assert (picture.width, picture.height) == (frames.SIDE, frames.SIDE)
    assert (await client.post("/api/v1/session/parameters", json={})).status_code == 400
    applied = (await client.post("/api/v1/session/parameters", json={"noise_scale": 0.4})).json()
    assert applied["status"] == "ok" and applied["applied_parameters"]["t_index_list"], applied
    assert (await client.get("/api/v1/session/parameters")).json()["parameters"]["noise_scale"] == 0.4
    (metrics,) = (await client.get("/api/v1/session/metrics")).json()["sessions"].values()
    assert metrics["frames_out"] > 0 and metrics["elapsed_seconds"] > 0, metrics
    assert (await client.get("/api/v1/recordings/headless")).status_code == 404
    assert (await client.post("/api/v1/recordings/headless/start")).status_code == 200
    before = await pictures(client)
    while await pictures(client) < before + 10:
        await asyncio.sleep(0.2)
    assert (await client.post("/api/v1/recordings/headless/stop")).status_code == 200
    movie = await client.get("/api/v1/recordings/headless")
    assert movie.headers["content-type"] == "video/mp4", movie.text
    assert next(av_open(io.BytesIO(movie.content)).decode(video=0)).width == frames.SIDE
    assert (await client.post("/api/v1/session/stop")).json()["status"] == "ok"
    assert (await client.get("/api/v1/session/parameters")).json() == {"parameters": {}}


async def run(base: str) -> None:
    """Everything, one after the other."""
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        assert isinstance((await client.get("/api/v1/webrtc/ice-servers")).json()["iceServers"], list)
        faults = await client.post("/api/v1/webrtc/offer", json={"type": "offer"})
        assert faults.status_code == 422 and faults.json()["detail"][0]["loc"] == ["body", "sdp"], faults.text
        await loaded(client)
        await with_a_browser(client)
        await without_a_browser(client)


asyncio.run(asyncio.wait_for(run(sys.argv[1]), SECONDS))
