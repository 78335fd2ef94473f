"""FFmpeg's own WHIP muxer publishes: `python ffmpeg.py BASE`.

It offers no candidates, wants the server to begin the handshake, and looks at the first candidate of the answer alone.
That pictures come of it is read from the stream's status.
"""

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import imageio_ffmpeg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECONDS = 40


def certificate(folder: Path) -> list[str]:
    """A certificate with a key on P-256, as the muxer's arguments: what it makes itself may be on P-384."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = builder.sign(key, hashes.SHA256())
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    key_file.write_bytes(key.private_bytes(pem, form, plain))
    return ["-cert_file", str(cert_file), "-key_file", str(key_file)]


def publish(url: str, extra: list[str]) -> subprocess.Popen:
    """Starts FFmpeg with a picture and a tone."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "warning", "-re"]
    command += ["-f", "lavfi", "-i", "testsrc2=s=384x384:r=15", "-re", "-f", "lavfi", "-i", "sine"]
    command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-bf", "0"]
    command += ["-tune", "zerolatency", "-g", "15", "-c:a", "libopus", "-ar", "48000", "-ac", "2"]
    return subprocess.Popen([*command, "-f", "whip", *extra, url])


def life(client: httpx.Client, extra: list[str]) -> None:
    """Publishes until pictures arrive, and stops FFmpeg regularly."""
    params = {"skip_diffusion": True, "width": 384, "height": 384}
    stream = client.post("/v1/streams", json={"params": params}).raise_for_status().json()
    status_url = f"/v1/streams/{stream['id']}/status"
    publisher = publish(stream["whip_url"], extra)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert publisher.poll() is None, f"ffmpeg ended with {publisher.returncode}"
            status = client.get(status_url).json()["data"]
            if status["inference_status"]["fps"] > 0 and status["inference_status"]["last_output_time"]:
                break
            assert time.monotonic() < deadline, status
            time.sleep(0.2)
    finally:
        publisher.terminate()
        publisher.wait(10)
    tracks = status["gateway_status"]["ingest_metrics"]["stats"]["track_stats"]
    assert any(track["type"] == "video" and track["packets_received"] > 0 for track in tracks), tracks
    # It takes its session away.
    while client.get(status_url).json()["data"]["state"] != "OFFLINE":
        assert time.monotonic() < deadline, "the session outlived its publisher"
        time.sleep(0.2)


def main(base: str) -> None:
    """One stream."""
    with tempfile.TemporaryDirectory() as folder, httpx.Client(base_url=base, timeout=20) as client:
        life(client, certificate(Path(folder)))


main(sys.argv[1])
