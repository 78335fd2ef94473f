"""aiortc publishes by WHIP and watches by WHEP: `python media.py BASE KEY [CODEC]`; with a codec, such as VP8, in it alone.

The stream passes frames on as they are, so that the numbers in them tell which come back, in which order, and when.
"""

import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta

import frames
import httpx
from aiortc import (
    AudioStreamTrack,
    RTCCertificate,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

WANTED = 45
SECONDS = 60


async def connect(client: httpx.AsyncClient, url: str, peer: RTCPeerConnection) -> httpx.Response:
    """Offers what `peer` has at `url`, and takes the answer."""
    await peer.setLocalDescription(await peer.createOffer())
    reply = await client.post(url, content=peer.localDescription.sdp, headers={"content-type": "application/sdp"})
    assert reply.status_code == 201, reply.text
    assert reply.headers["content-type"].startswith("application/sdp")
    assert reply.headers["location"].startswith(url), reply.headers
    assert reply.headers["etag"].startswith('"')
    assert len(reply.content) <= 8192 and "\r\na=candidate:" in reply.text
    await peer.setRemoteDescription(RTCSessionDescription(reply.text, "answer"))
    return reply


async def watch(peer: RTCPeerConnection) -> list[tuple[int, float]]:
    """The numbers that come, each with the time."""
    track = peer.getReceivers()[0].track
    seen: list[tuple[int, float]] = []
    while len({number for number, _ in seen}) < WANTED:
        frame = await track.recv()
        number = frames.number(frame.to_ndarray(format="rgb24"))
        if number is not None and (not seen or seen[-1][0] != number):
            seen.append((number, time.monotonic()))
    return seen


def only(transceiver: RTCRtpTransceiver, codec: str) -> None:
    """Leaves no other codec."""
    offered = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([one for one in offered if one.mimeType == f"video/{codec}"])


async def run(base: str, key: str, codec: str | None = None) -> None:
    """Publishes, watches, and compares."""
    authorised = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(timeout=20) as client:
        size = {"width": frames.SIDE, "height": frames.SIDE}
        body = {"pipeline": "streamdiffusion", "params": {"skip_diffusion": True, **size}}
        created = await client.post(f"{base}/v1/streams", json=body, headers=authorised)
        assert created.status_code == 201, created.text
        stream = created.json()

        publisher, viewer = RTCPeerConnection(), RTCPeerConnection()
        track = frames.Numbered()
        publisher.addTrack(track)
        publisher.addTrack(AudioStreamTrack())
        viewer.addTransceiver("video", direction="recvonly")
        if codec is not None:
            for peer in (publisher, viewer):
                only(peer.getTransceivers()[0], codec)
        published = await connect(client, stream["whip_url"], publisher)
        watched = await connect(client, published.headers["livepeer-playback-url"], viewer)
        seen = await asyncio.wait_for(watch(viewer), SECONDS)

        numbers = [number for number, _ in seen]
        assert numbers == sorted(numbers), numbers
        assert all(number in track.sent for number in numbers), numbers
        late = sorted(at - track.sent[number] for number, at in seen)
        print(f"{len(numbers)} of {numbers[-1] - numbers[0] + 1} frames, {1000 * statistics.median(late):.0f} ms late")
        # A busy machine skips frames, and the time limit above bounds how many; but not most of them.
        assert len(numbers) >= 0.2 * (numbers[-1] - numbers[0] + 1), numbers

        status_url = f"{base}/v1/streams/{stream['id']}/status"
        # Without its owner's key, the status has the state only.
        public = (await client.get(status_url)).json()["data"]
        assert public["state"] != "OFFLINE" and "inference_status" not in public, public
        status = (await client.get(status_url, headers=authorised)).json()
        assert status["success"] and status["data"]["state"] in ("ONLINE", "DEGRADED_INPUT", "DEGRADED_INFERENCE")
        assert status["data"]["inference_status"]["fps"] > 0
        tracks = status["data"]["gateway_status"]["ingest_metrics"]["stats"]["track_stats"]
        assert [track["type"] for track in tracks] == ["video", "audio"], tracks
        assert all(track["packets_received"] > 0 for track in tracks), tracks
        for session in (published, watched):
            assert (await client.delete(session.headers["location"])).status_code == 200
            assert (await client.delete(session.headers["location"])).status_code == 404
        await asyncio.gather(publisher.close(), viewer.close())


def certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> RTCCertificate:
    """A certificate of its own with `key`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return RTCCertificate(key=key, cert=builder.sign(key, hashes.SHA256()))


async def certificates(base: str, key: str) -> None:
    """Connects with keys of kinds that browsers do not have by themselves."""
    kinds = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
    async with httpx.AsyncClient(timeout=20) as client:
        body = {"params": {"skip_diffusion": True}}
        created = await client.post(f"{base}/v1/streams", json=body, headers={"authorization": f"Bearer {key}"})
        for kind in kinds:
            peer = RTCPeerConnection()
            # There is no public way to choose one.
            peer._RTCPeerConnection__certificates = [certificate(kind)]
            peer.addTrack(frames.Numbered())
            connected = asyncio.Event()
            peer.on("connectionstatechange", lambda: peer.connectionState == "connected" and connected.set())
            published = await connect(client, created.json()["whip_url"], peer)
            await asyncio.wait_for(connected.wait(), SECONDS)
            assert (await client.delete(published.headers["location"])).status_code == 200
            await peer.close()


asyncio.run(run(*sys.argv[1:]))
if len(sys.argv) == 3:
    asyncio.run(certificates(*sys.argv[1:]))
