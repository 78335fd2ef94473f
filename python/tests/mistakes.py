"""Typical mistakes, and what each is told: the message alone has to say what to do.

Each row is the code as somebody would write it, the class that it raises, and the whole message. `stream` is a stream
of the demo model, `frame` an array of 64x64 RGB bytes, `session` a session of another such stream.
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
    Mistake("StreamDiffusionParams(promt='snow')", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams('snow')", "TypeError", ""),
    Mistake("StreamDiffusionParams(prompt=None)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(prompt=['snow', 'fog'])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(prompt={'snow': 0.5})", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(prompt=[('snow', 0), ('fog', 0)])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(guidance_scale='1.2')", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(guidance_scale=-1)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(delta=float('nan'))", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(seed=-1)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(seed=1.5)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(t_index_list=16)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(t_index_list=[12, 20, 50])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(t_index_list=[32, 20])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(t_index_list=[])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(width=513)", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(use_lcm_lora='yes')", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(acceleration='cuda')", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(lora_dict=['a/lora'])", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(ip_adapter_style_image_url='style.png')", "InvalidParamsError", ""),
    Mistake("StreamDiffusionParams(controlnets=ControlNetConfig(model_id='a/b'))", "InvalidParamsError", ""),
    Mistake("ControlNetConfig(conditioning_scale=0.5)", "InvalidParamsError", ""),
    Mistake("ControlNetConfig(model_id='a/b', preprocessor='cany')", "InvalidParamsError", ""),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='a/b'), ControlNetConfig(model_id='a/b')])",
        "InvalidParamsError",
        "",
    ),
    Mistake(
        "StreamDiffusionParams(controlnets=[ControlNetConfig(model_id='lllyasviel/control_v11f1p_sd15_depth')])",
        "InvalidParamsError",
        "",
    ),
    Mistake("stream.params.ip_adapter.scale = 11", "InvalidParamsError", ""),
    Mistake("stream.params.guidence_scale = 1.2", "AttributeError", ""),
    Mistake("StreamDiffusionParams.model_validate_json(\"{'delta': 0.5}\")", "InvalidParamsError", ""),
    # Frames
    Mistake("stream(frame / 255)", "InvalidFrameError", ""),
    Mistake("stream(frame.astype(np.uint16))", "InvalidFrameError", ""),
    Mistake("stream(frame[..., 0])", "InvalidFrameError", ""),
    Mistake("stream(frame.transpose(2, 0, 1))", "InvalidFrameError", ""),
    Mistake("stream(frame[None])", "InvalidFrameError", ""),
    Mistake("stream(frame[..., :2])", "InvalidFrameError", ""),
    Mistake("stream(frame[:0])", "InvalidFrameError", ""),
    Mistake("stream(frame.tobytes())", "InvalidFrameError", ""),
    Mistake("stream('frame.png')", "TypeError", ""),
    Mistake("stream(None)", "TypeError", ""),
    Mistake("stream(frame.tolist())", "TypeError", ""),
    # Streams and sessions
    Mistake("StreamDiffusion(StreamDiffusionParams(), models='no/such/folder')", "ModelNotFoundError", ""),
    Mistake("StreamDiffusion({**demo, 'lora_dict': {'no/such-lora': 1.0}})", "ModelNotFoundError", ""),
    Mistake("StreamDiffusion({**demo, 'width': 320})", "InvalidParamsError", ""),
    Mistake("StreamDiffusion({**demo, 'use_safety_checker': True})", "ModelNotFoundError", ""),
    Mistake("StreamDiffusion({**demo, 'ip_adapter': {'enabled': True}})", "InvalidParamsError", ""),
    Mistake("StreamDiffusion(model='demo')", "TypeError", ""),
    Mistake("StreamDiffusion('demo')", "TypeError", ""),
    Mistake("StreamDiffusion(device='cuda')", "UnsupportedError", ""),
    Mistake("StreamDiffusion(dtype='f16')", "InvalidArgumentError", ""),
    Mistake("StreamDiffusion(threads=0)", "InvalidArgumentError", ""),
    Mistake("stream.update(guidence_scale=1.2)", "InvalidParamsError", ""),
    Mistake("stream.update('snow')", "TypeError", ""),
    Mistake("stream.start() and stream(frame)", "InvalidArgumentError", ""),
    Mistake("stream.close() or stream(frame)", "ClosedError", ""),
    Mistake("session.stop() or session.submit(frame)", "ClosedError", ""),
    Mistake("session.wait_for('first')", "TypeError", ""),
    Mistake("session.wait(-1)", "InvalidArgumentError", ""),
]
