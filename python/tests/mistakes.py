"""Typical mistakes, and what each is told: the message alone has to say what to do.

Each row is the code as somebody would write it, the class that it raises, and the whole message. `stream` is a stream
of the demo model, `frame` an array of 64x64 RGB bytes, `session` a session of another such stream; the server at
`url`, to which `publisher` publishes, does not answer.
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
        'promt is not a parameter; did you mean "prompt"?',
    ),
    Mistake(
        "StreamDiffusionParams('snow')",
        "TypeError",
        "StreamDiffusionParams takes its fields by name: StreamDiffusionParams(model_id=...)",
    ),
    Mistake(
        "StreamDiffusionParams(prompt=None)",
        "InvalidParamsError",
        "prompt is null, but must be text of at most 8192 characters, or a list of 1 to 16 pairs of it and a weight, a number from 0 to 1000",
    ),
    Mistake(
        "StreamDiffusionParams(prompt=['snow', 'fog'])",
        "InvalidParamsError",
        'prompt[0] is "snow", but must be a pair of a value and its weight; prompt[1] is "fog", but must be a pair of a value and its weight',
    ),
    Mistake(
        "StreamDiffusionParams(prompt={'snow': 0.5})",
        "InvalidParamsError",
        "prompt is an object of 1, but must be text of at most 8192 characters, or a list of 1 to 16 pairs of it and a weight, a number from 0 to 1000",
    ),
    Mistake(
        "StreamDiffusionParams(prompt=[('snow', 0), ('fog', 0)])",
        "InvalidParamsError",
        "prompt has weights that sum to 0, but must sum to more than 0 to be normalised",
    ),
    Mistake(
        "StreamDiffusionParams(guidance_scale='1.2')",
        "InvalidParamsError",
        'guidance_scale is "1.2", but must be a number from 0 to 100',
    ),
    Mistake(
        "StreamDiffusionParams(guidance_scale=-1)",
        "InvalidParamsError",
        "guidance_scale is -1, but must be a number from 0 to 100",
    ),
    Mistake(
        "StreamDiffusionParams(delta=float('nan'))",
        "InvalidParamsError",
        "delta is nan, but must be a finite number",
    ),
    Mistake(
        "StreamDiffusionParams(seed=-1)",
        "InvalidParamsError",
        "seed is -1, but must be an integer from 0 to 9007199254740991",
    ),
    Mistake(
        "StreamDiffusionParams(seed=1.5)",
        "InvalidParamsError",
        "seed is 1.5, but must be an integer from 0 to 9007199254740991",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=16)",
        "InvalidParamsError",
        "t_index_list is 16, but must be a list of 1 to 4 items, each an integer from 0 to 99",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[12, 20, 50])",
        "InvalidParamsError",
        "t_index_list[2] is 50, but must be less than num_inference_steps (50)",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[32, 20])",
        "InvalidParamsError",
        "t_index_list[1] is 20, but must be at least the index before it (32)",
    ),
    Mistake(
        "StreamDiffusionParams(t_index_list=[])",
        "InvalidParamsError",
        "t_index_list is a list of 0, but must be a list of 1 to 4 items, each an integer from 0 to 99",
    ),
    Mistake(
        "StreamDiffusionParams(width=513)",
        "InvalidParamsError",
        "width is 513, but must be an integer from 64 to 2048 in steps of 8",
    ),
    Mistake(
        "StreamDiffusionParams(use_lcm_lora='yes')",
        "InvalidParamsError",
        'use_lcm_lora is "yes", but must be true or false',
    ),
    Mistake(
        "StreamDiffusionParams(acceleration='cuda')",
        "InvalidParamsError",
        'acceleration is "cuda", but must be one of "none", "xformers", "tensorrt"',
    ),
    Mistake(
        "StreamDiffusionParams(lora_dict=['a/lora'])",
        "InvalidParamsError",
        "lora_dict is a list of 1, but must be an object of at most 16 names, each with a number from -10 to 10, or null",
    ),
    Mistake(
        "StreamDiffusionParams(ip_adapter_style_image_url='style.png')",
        "InvalidParamsError",
        'ip_adapter_style_image_url is "style.png", but must be an http(s) URL, a data:image/ URL or base64',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=ControlNetConfig(model_id='a/b'))",
        "InvalidParamsError",
        "controlnets is an object of 8, but must be a list of at most 8 objects",
    ),
    Mistake(
        "ControlNetConfig(conditioning_scale=0.5)",
        "InvalidParamsError",
        "model_id is missing, but must be text of 1 to 512 characters",
    ),
    Mistake(
        "ControlNetConfig(model_id='a/b', preprocessor='cany')",
        "InvalidParamsError",
        'preprocessor is "cany", but must be one of "blur", "canny", "depth", "depth_tensorrt", "external", "feedback", "hed", "lineart", "mediapipe_pose", "mediapipe_segmentation", "openpose", "passthrough", "pose_tensorrt", "realesrgan_trt", "sharpen", "soft_edge", "standard_lineart", "temporal_net_tensorrt", "upscale", "latent_feedback"',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='a/b'), ControlNetConfig(model_id='a/b')])",
        "InvalidParamsError",
        'controlnets[1].model_id is "a/b" again, but must be unique in the list',
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='lllyasviel/control_v11f1p_sd15_depth')])",
        "InvalidParamsError",
        'controlnets[0].model_id is "lllyasviel/control_v11f1p_sd15_depth" for Stable Diffusion 1.5, but must fit "stabilityai/sd-turbo" (Stable Diffusion 2.1)',
    ),
    Mistake(
        "stream.params.ip_adapter.scale = 11",
        "InvalidParamsError",
        "scale is 11, but must be a number from 0 to 10",
    ),
    Mistake(
        "stream.params.guidence_scale = 1.2",
        "InvalidParamsError",
        'guidence_scale is not a parameter; did you mean "guidance_scale"?',
    ),
    Mistake(
        "StreamDiffusionParams.model_validate_json(\"{'delta': 0.5}\")",
        "InvalidParamsError",
        "parameters cannot be read as JSON: key must be a string at line 1 column 2",
    ),
    # Frames
    Mistake(
        "stream(frame / 255)",
        "InvalidFrameError",
        "frame has the dtype float64, but must be uint8; of numbers from 0 to 1: (frame * 255).round().astype(numpy.uint8)",
    ),
    Mistake(
        "stream(frame.astype(np.uint16))",
        "InvalidFrameError",
        "frame has the dtype uint16, but must be uint8; of numbers from 0 to 255: frame.astype(numpy.uint8)",
    ),
    Mistake(
        "stream(frame[..., 0])",
        "InvalidFrameError",
        "frame (numpy.ndarray) has the shape (64, 64), but must be (height, width, 3) or (height, width, 4); of a grey one make three channels: numpy.dstack([frame] * 3)",
    ),
    Mistake(
        "stream(frame.transpose(2, 0, 1))",
        "InvalidFrameError",
        "frame (numpy.ndarray) has the shape (3, 64, 64), but must be (height, width, 3) or (height, width, 4); with channels last: frame.transpose(1, 2, 0)",
    ),
    Mistake(
        "stream(frame[None])",
        "InvalidFrameError",
        "frame (numpy.ndarray) has the shape (1, 64, 64, 3), but must be (height, width, 3) or (height, width, 4); without the batch: frame[0]",
    ),
    Mistake(
        "stream(frame[..., :2])",
        "InvalidFrameError",
        "frame (numpy.ndarray) has the shape (64, 64, 2), but must be (height, width, 3) or (height, width, 4)",
    ),
    Mistake(
        "stream(frame[:0])",
        "InvalidFrameError",
        "frame is 64x0, but each side must be between 1 and 8192",
    ),
    Mistake(
        "stream(frame.tobytes())",
        "InvalidFrameError",
        "frame (bytes) has the shape (12288,), but must be (height, width, 3) or (height, width, 4); give the bytes a shape: numpy.frombuffer(frame, numpy.uint8).reshape(height, width, 3)",
    ),
    Mistake(
        "stream('frame.png')",
        "InvalidFrameError",
        "frame is a str, but must be an array of uint8, an image of PIL, a buffer or a tensor; open the file: PIL.Image.open('frame.png')",
    ),
    Mistake(
        "stream(None)",
        "InvalidFrameError",
        "frame is a NoneType, but must be an array of uint8, an image of PIL, a buffer or a tensor; is the camera or the film at its end?",
    ),
    Mistake(
        "stream(frame.tolist())",
        "InvalidFrameError",
        "frame is a list, but must be an array of uint8, an image of PIL, a buffer or a tensor; for several frames: stream.frames(source)",
    ),
    # Streams and sessions
    Mistake(
        "StreamDiffusion(StreamDiffusionParams(), models='no/such/folder')",
        "ModelNotFoundError",
        "model stabilityai/sd-turbo is not there: looked in no/such/folder/stabilityai/sd-turbo, no/such/folder/stabilityai--sd-turbo, no/such/folder/models--stabilityai--sd-turbo, no/such/folder/sd-turbo, no/such/folder/stabilityai/sd-turbo.safetensors and 2 more",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'lora_dict': {'no/such-lora': 1.0}})",
        "ModelNotFoundError",
        "lora_dict: model no/such-lora is not there: no folder of models was named; `dreamframe models fetch no/such-lora` fetches it",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'width': 60})",
        "InvalidParamsError",
        "width is 60, but must be an integer from 64 to 2048 in steps of 8",
    ),
    Mistake(
        "StreamDiffusion({**demo, 'ip_adapter': {'enabled': True}})",
        "InvalidParamsError",
        'ip_adapter.enabled is true, but must be false: no IP-Adapter fits "demo", the demo model',
    ),
    Mistake(
        "StreamDiffusion(model='demo')",
        "TypeError",
        "StreamDiffusion.__new__() got an unexpected keyword argument 'model'",
    ),
    Mistake(
        "StreamDiffusion('demo')",
        "InvalidParamsError",
        "parameters are of the type str, but must be a StreamDiffusionParams or a dict",
    ),
    Mistake(
        "StreamDiffusion(device='cuda')",
        "UnsupportedError",
        'device "cuda" is not built into this package; "auto" and "cpu" are',
    ),
    Mistake(
        "StreamDiffusion(dtype='f16')",
        "UnsupportedError",
        "dtype: got f16 for the executor cpu, expected auto, f32, bf16 or int8",
    ),
    Mistake(
        "StreamDiffusion(threads=0)",
        "InvalidArgumentError",
        "threads: got 0, expected at least 1; None uses all of the machine's",
    ),
    Mistake(
        "stream.update(guidence_scale=1.2)",
        "InvalidParamsError",
        'guidence_scale is not a parameter; did you mean "guidance_scale"?',
    ),
    Mistake(
        "stream.update('snow')",
        "InvalidParamsError",
        "parameters are of the type str, but must be a StreamDiffusionParams or a dict",
    ),
    Mistake(
        "held = stream.start(); stream(frame)",
        "InvalidArgumentError",
        "the stream runs in a session: give that the frames and changes, or stop it first",
    ),
    Mistake(
        "stream.close() or stream(frame)",
        "ClosedError",
        "the stream is closed",
    ),
    Mistake(
        "session.stop() or session.submit(frame)",
        "ClosedError",
        "the session was stopped, and takes no frames",
    ),
    Mistake(
        "session.wait_for('first')",
        "TypeError",
        "ticket is a str, but must be the Ticket that update() gave",
    ),
    Mistake(
        "session.wait(-1)",
        "InvalidArgumentError",
        "timeout is -1, but must be seconds from 0 on, or None for no end",
    ),
    # Network
    Mistake(
        "serve(stream, address='8080')",
        "InvalidArgumentError",
        'address is "8080", but must be an IP address and a port, such as 127.0.0.1:8080',
    ),
    Mistake(
        "serve(stream, address='0.0.0.0:0')",
        "InvalidArgumentError",
        "0.0.0.0:0 can be reached by others, so a token must be set",
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', public_url='host.example')",
        "InvalidArgumentError",
        'the public URL is "host.example", but must begin with http:// or https://',
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', allow_origins=['*'])",
        "InvalidArgumentError",
        'origin: got "*", expected a scheme and a host, such as https://app.example',
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', ports=(50000, 40000))",
        "InvalidArgumentError",
        "ports are (50000, 40000), but must be the first and the last of some, from 1 to 65535",
    ),
    Mistake(
        "serve(stream, address='127.0.0.1:0', public_ip='host.example')",
        "InvalidArgumentError",
        "public_ip is 'host.example', but must be an IP address, or None",
    ),
    Mistake(
        "serve('demo')",
        "TypeError",
        "stream is a str, but must be a StreamDiffusion, its parameters, or None",
    ),
    Mistake(
        "serve(session)",
        "TypeError",
        "stream is a dreamframe.Session, but must be a StreamDiffusion, its parameters, or None",
    ),
    Mistake(
        "publish('host.example/whip')",
        "InvalidArgumentError",
        "the server's address must begin with http:// or https:// and name a host",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', token='key\\n')",
        "InvalidArgumentError",
        "the token has characters that are not valid in a header",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', bitrate=0)",
        "InvalidArgumentError",
        "bitrate is 0, but must be an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', bitrate='3M')",
        "TypeError",
        "bitrate is '3M', but must be an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', attempts=-1)",
        "InvalidArgumentError",
        "attempts is -1, but must be an integer from 1 to 4294967295, or None",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', ice_servers='stun:host.example')",
        "TypeError",
        "ice_servers is 'stun:host.example', but must be a list of addresses such as \"stun:host\", or of dicts with urls, username and credential",
    ),
    Mistake(
        "publish('http://127.0.0.1/whip', ice_servers=[{'url': 'stun:host.example'}])",
        "InvalidArgumentError",
        'ice_servers has one that is neither an address such as "stun:host" nor a dict with urls, and for TURN with username and credential, or secret',
    ),
    Mistake(
        "publisher.wait('up')",
        "InvalidArgumentError",
        'state is "up", but must be one of: connecting, connected, disconnected, failed, closed',
    ),
    Mistake(
        "publisher.wait(10)",
        "TypeError",
        "state is 10, but must be text; seconds are given by name: wait(timeout=10)",
    ),
    Mistake(
        "publisher.stop() or publisher.show(frame)",
        "ClosedError",
        "the publisher was stopped",
    ),
    Mistake(
        "play('http://127.0.0.1/whep', into=stream)",
        "TypeError",
        "into is a dreamframe.StreamDiffusion, but must be a Session: what start() gives, or a server's session",
    ),
    Mistake(
        "play(url, into=session).poll()",
        "InvalidArgumentError",
        "the player's frames go into a session: take its pictures there",
    ),
]
