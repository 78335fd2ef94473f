"""Typical mistakes with the error message of each: the message alone has to explain the correction.

Each row is the code, the class of the exception that it raises, and the whole message. `stream` is a stream of the
demo model, `frame` an array of 64x64 RGB bytes, `session` a session of another such stream; the server at `url`, to
which `publisher` publishes, does not respond.
"""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """One mistake."""

    code: str
    error: str
    message: str


MISTAKES = [
    # Parameters
    Mistake(
        "StreamDiffusionParams(promt='snow')",
        "InvalidParamsError",
        'promt: unknown parameter; did you mean "prompt"?',
    ),
    Mistake(
        "StreamDiffusionParams('snow')",
        "TypeError",
        "StreamDiffusionParams takes its fields by name: StreamDiffusionParams(model_id=...)",
    ),
    Mistake(
        "ControlNetConfig(model_id=None)",
        "InvalidParamsError",
        "model_id: got null, expected text of 1 to 512 characters",
    ),
    Mistake(
        "StreamDiffusionParams(prompt=['snow', 'fog'])",
        "InvalidParamsError",
        'prompt[0]: got "snow", expected a pair of a value and its weight; prompt[1]: got "fog", expected a pair of a value and its weight',
    ),
    Mistake(
        "StreamDiffusionParams(prompt={'snow': 0.5})",
        "InvalidParamsError",
        "prompt: got an object of 1, expected text of at most 8192 characters, or a list of 1 to 16 pairs of it and a weight, a number from 0 to 1000",
    ),
    Mistake(
        "StreamDiffusionParams(prompt=[('snow', 0), ('fog', 0)])",
        "InvalidParamsError",
        "prompt: got weights that sum to 0, expected more than 0 to normalise them",
    ),
    Mistake(
        "StreamDiffusionParams(guidance_scale='1.2')",
        "InvalidParamsError",
        'guidance_scale: got "1.2", expected a number from 0 to 100',
    ),
    Mistake(
        "StreamDiffusionParams(guidance_scale=-1)",
        "InvalidParamsError",
        "guidance_scale: got -1, expected a number from 0 to 100",
    ),
    Mistake(
        "StreamDiffusionParams(delta=float('nan'))",
        "InvalidParamsError",
        "delta: got nan, expected a finite number",
    ),
    Mistake(
        "StreamDiffusionParams(seed=-1)",
        "InvalidParamsError",
        "seed: got -1, expected an integer from 0 to 9007199254740991",
    ),
    Mistake(
        "StreamDiffusionParams(seed=1.5)",
        "InvalidParamsError",
        "seed: got 1.5, expected an integer from 0 to 9007199254740991",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=16)",
        "InvalidParamsError",
        "t_index_list: got 16, expected a list of 1 to 4 items, each an integer from 0 to 100",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[12, 20, 51])",
        "InvalidParamsError",
        "t_index_list[2]: got 51, expected less than num_inference_steps (50)",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[32, 20])",
        "InvalidParamsError",
        "t_index_list[1]: got 20, expected at least the index before it (32)",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[])",
        "InvalidParamsError",
        "t_index_list: got a list of 0, expected a list of 1 to 4 items, each an integer from 0 to 100",
    ),
    Mistake(
        "StreamDiffusionParams(width=513)",
        "InvalidParamsError",
        "width: got 513, expected an integer from 64 to 2048 in steps of 8",
    ),
    Mistake(
        "StreamDiffusionParams(use_lcm_lora='yes')",
        "InvalidParamsError",
        'use_lcm_lora: got "yes", expected true or false',
    ),
    Mistake(
        "StreamDiffusionParams(acceleration='cuda')",
        "InvalidParamsError",
        'acceleration: got "cuda", expected one of "none", "xformers", "tensorrt"',
    ),
    Mistake(
        "StreamDiffusionParams(lora_dict=['a/lora'])",
        "InvalidParamsError",
        "lora_dict: got a list of 1, expected an object of at most 16 names, each with a number from -10 to 10, or null",
    ),
    Mistake(
        "StreamDiffusionParams(ip_adapter_style_image_url='style.png')",
        "InvalidParamsError",
        'ip_adapter_style_image_url: got "style.png", expected an http(s) URL, a data URL of an image or a face, or base64',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=ControlNetConfig(model_id='a/b'))",
        "InvalidParamsError",
        "controlnets: got an object of 8, expected a list of at most 8 objects",
    ),
    Mistake(
        "ControlNetConfig(conditioning_scale=0.5)",
        "InvalidParamsError",
        "model_id: missing, expected text of 1 to 512 characters",
    ),
    Mistake(
        "ControlNetConfig(model_id='a/b', preprocessor='cany')",
        "InvalidParamsError",
        'preprocessor: got "cany", expected one of "blur", "canny", "depth", "depth_tensorrt", "external", "feedback", "hed", "lineart", "mediapipe_pose", "mediapipe_segmentation", "openpose", "passthrough", "pose_tensorrt", "realesrgan_trt", "sharpen", "soft_edge", "standard_lineart", "temporal_net_tensorrt", "upscale", "latent_feedback"',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='a/b'), ControlNetConfig(model_id='a/b')])",
        "InvalidParamsError",
        'controlnets[1].model_id: got "a/b" a second time, expected each id once',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='lllyasviel/control_v11f1p_sd15_depth')])",
        "InvalidParamsError",
        'controlnets[0].model_id: got "lllyasviel/control_v11f1p_sd15_depth" for Stable Diffusion 1.5, expected one for "stabilityai/sd-turbo" (Stable Diffusion 2.1)',
    ),
    Mistake(
        "stream.params.ip_adapter.scale = 11",
        "InvalidParamsError",
        "scale: got 11, expected a number from 0 to 10",
    ),
    Mistake(
        "stream.params.guidence_scale = 1.2",
        "InvalidParamsError",
        'guidence_scale: unknown parameter; did you mean "guidance_scale"?',
    ),
    Mistake(
        "StreamDiffusionParams.model_validate_json(\"{'delta': 0.5}\")",
        "InvalidParamsError",
        "parameters: invalid JSON: key must be a string at line 1 column 2",
    ),
    # Frames
    Mistake(
        "stream(frame / 255)",
        "InvalidFrameError",
        "frame: got dtype float64, expected uint8; to convert numbers from 0 to 1: (frame * 255).round().astype(numpy.uint8)",
    ),
    Mistake(
        "stream(frame.astype(np.uint16))",
        "InvalidFrameError",
        "frame: got dtype uint16, expected uint8; to convert numbers from 0 to 255: frame.astype(numpy.uint8)",
    ),
    Mistake(
        "stream(frame[..., 0])",
        "InvalidFrameError",
        "frame (numpy.ndarray): got the shape (64, 64), expected (height, width, 3) or (height, width, 4); to convert a grey one to three channels: numpy.dstack([frame] * 3)",
    ),
    Mistake(
        "stream(frame.transpose(2, 0, 1))",
        "InvalidFrameError",
        "frame (numpy.ndarray): got the shape (3, 64, 64), expected (height, width, 3) or (height, width, 4); to put the channels last: frame.transpose(1, 2, 0)",
    ),
    Mistake(
        "stream(frame[None])",
        "InvalidFrameError",
        "frame (numpy.ndarray): got the shape (1, 64, 64, 3), expected (height, width, 3) or (height, width, 4); to remove the batch dimension: frame[0]",
    ),
    Mistake(
        "stream(frame[..., :2])",
        "InvalidFrameError",
        "frame (numpy.ndarray): got the shape (64, 64, 2), expected (height, width, 3) or (height, width, 4)",
    ),
    Mistake(
        "stream(frame[:0])",
        "InvalidFrameError",
        "frame: got 64x0, expected sides from 1 to 8192",
    ),
    Mistake(
        "stream(frame.tobytes())",
        "InvalidFrameError",
        "frame (bytes): got the shape (12288,), expected (height, width, 3) or (height, width, 4); to set the shape of bytes: numpy.frombuffer(frame, numpy.uint8).reshape(height, width, 3)",
    ),
    Mistake(
        "stream('frame.png')",
        "InvalidFrameError",
        "frame: got a str, expected an array of uint8, a PIL image, a buffer or a tensor; to open the file: PIL.Image.open('frame.png')",
    ),
    Mistake(
        "stream(None)",
        "InvalidFrameError",
        "frame: got a NoneType, expected an array of uint8, a PIL image, a buffer or a tensor; the camera or the video may have ended",
    ),
    Mistake(
        "stream(frame.tolist())",
        "InvalidFrameError",
        "frame: got a list, expected an array of uint8, a PIL image, a buffer or a tensor; to process several frames: stream.frames(source)",
    ),
    # Streams and sessions
    Mistake(
        "StreamDiffusion(StreamDiffusionParams(), models='no/such/folder')",
        "ModelNotFoundError",
        "model stabilityai/sd-turbo not found: tried no/such/folder/stabilityai/sd-turbo, no/such/folder/stabilityai--sd-turbo, no/such/folder/models--stabilityai--sd-turbo, no/such/folder/sd-turbo, no/such/folder/stabilityai/sd-turbo.safetensors and 12 more",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'lora_dict': {'no/such-lora': 1.0}})",
        "ModelNotFoundError",
        "lora_dict: model no/such-lora not found: no folder of models is set; `dreamframe models fetch no/such-lora` fetches it",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'width': 60})",
        "InvalidParamsError",
        "width: got 60, expected an integer from 64 to 2048 in steps of 8",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'model_id': 'stabilityai/sd-turbo', 'ip_adapter': {'enabled': True}})",
        "InvalidParamsError",
        'ip_adapter.enabled: got true, expected false: there is no IP-Adapter for "stabilityai/sd-turbo", Stable Diffusion 2.1',
    ),
    Mistake(
        "StreamDiffusion(model='demo')",
        "TypeError",
        "StreamDiffusion.__new__() got an unexpected keyword argument 'model'",
    ),
    Mistake(
        "StreamDiffusion('demo')",
        "InvalidParamsError",
        "parameters: got the type str, expected a StreamDiffusionParams or a dict",
    ),
    Mistake(
        "StreamDiffusion(device='cuda')",
        "UnsupportedError",
        'device: got "cuda", expected "auto" or "cpu"; for a GPU: executor="auto", or executor="onnx" and a provider',
    ),
    Mistake(
        "StreamDiffusion(dtype='f16')",
        "UnsupportedError",
        "dtype: got f16 for the executor cpu, expected auto, f32, bf16 or int8",
    ),
    Mistake(
        "StreamDiffusion(threads=0)",
        "InvalidArgumentError",
        "threads: got 0, expected at least 1, or None for as many as the machine has",
    ),
    Mistake(
        "stream.update(guidence_scale=1.2)",
        "InvalidParamsError",
        'guidence_scale: unknown parameter; did you mean "guidance_scale"?',
    ),
    Mistake(
        "stream.update('snow')",
        "InvalidParamsError",
        "parameters: got the type str, expected a StreamDiffusionParams or a dict",
    ),
    Mistake(
        "held = stream.start(); stream(frame)",
        "InvalidArgumentError",
        "the stream is in a session: send frames and changes to the session, or stop it first",
    ),
    Mistake(
        "stream.close() or stream(frame)",
        "ClosedError",
        "the stream is closed",
    ),
    Mistake(
        "session.stop() or session.submit(frame)",
        "ClosedError",
        "the session is stopped",
    ),
    Mistake(
        "session.wait_for('first')",
        "TypeError",
        "ticket: got a str, expected a Ticket that update() returned",
    ),
    Mistake(
        "session.wait(-1)",
        "InvalidArgumentError",
        "timeout: got -1, expected seconds of at least 0, or None for no limit",
    ),
    # Network
    Mistake(
        "serve(stream, address='8080')",
        "InvalidArgumentError",
        'address: got "8080", expected an IP address and a port, such as 127.0.0.1:8080',
    ),
    Mistake(
        "serve(stream, address='0.0.0.0:0')",
        "InvalidArgumentError",
        "token: missing, expected one for the address 0.0.0.0:0, which other machines can reach",
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', public_url='host.example')",
        "InvalidArgumentError",
        'public_url: got "host.example", expected a URL that starts with http:// or https://',
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', allow_origins=['*'])",
        "InvalidArgumentError",
        'origin: got "*", expected a scheme and a host, such as https://app.example',
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', ports=(50000, 40000))",
        "InvalidArgumentError",
        "ports: got (50000, 40000), expected the first and the last port, from 1 to 65535",
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', public_ip='host.example')",
        "InvalidArgumentError",
        "public_ip: got 'host.example', expected an IP address, or None",
    ),
    Mistake(
        "serve('demo')",
        "TypeError",
        "stream: got a str, expected a StreamDiffusion, its parameters, or None",
    ),
    Mistake(
        "serve(session)",
        "TypeError",
        "stream: got a dreamframe.Session, expected a StreamDiffusion, its parameters, or None",
    ),
    Mistake(
        "publish('host.example/whip')",
        "InvalidArgumentError",
        "address of the server: expected one that starts with http:// or https:// and has a host",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', token='key\\n')",
        "InvalidArgumentError",
        "token: got characters that are not valid in a header",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', bitrate=0)",
        "InvalidArgumentError",
        "bitrate: got 0, expected an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', bitrate='3M')",
        "TypeError",
        "bitrate: got '3M', expected an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', attempts=-1)",
        "InvalidArgumentError",
        "attempts: got -1, expected an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', ice_servers='stun:host.example')",
        "TypeError",
        "ice_servers: got 'stun:host.example', expected a list of addresses such as \"stun:host\", or of dicts with urls, username and credential",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', ice_servers=[{'url': 'stun:host.example'}])",
        "InvalidArgumentError",
        'ice_servers: expected addresses such as "stun:host" or dicts with urls, for TURN also with username and credential, or with secret',
    ),
    Mistake(
        "publisher.wait('up')",
        "InvalidArgumentError",
        'state: got "up", expected one of connecting, connected, disconnected, failed, closed',
    ),
    Mistake(
        "publisher.wait(10)",
        "TypeError",
        "state: got 10, expected text; to set seconds: wait(timeout=10)",
    ),
    Mistake(
        "publisher.stop() or publisher.show(frame)",
        "ClosedError",
        "the publisher was stopped",
    ),
    Mistake(
        "play('http://127.0.0.1/whep', into=stream)",
        "TypeError",
        "into: got a dreamframe.StreamDiffusion, expected a Session that start() returned, or the session of a server",
    ),
    Mistake(
        "play(url, into=session).poll()",
        "InvalidArgumentError",
        "the frames of this player go to a session; take the pictures there",
    ),
]
