"""Daydream's Python SDK against a server of ours: `python sdk.py BASE KEY`. The server wants KEY."""

import sys

from daydream import Daydream, errors

MODELS = ["stabilityai/sd-turbo", "stabilityai/sdxl-turbo", "Lykon/dreamshaper-8", "prompthero/openjourney-v4"]


def refused(kind, call, **arguments):
    """Calls what must be refused with an error of `kind`, and gives it."""
    try:
        call(**arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__} was not refused with {kind.__name__}")


def life(base: str, daydream: Daydream, model_id: str) -> None:
    """A stream from its creation to its end."""
    streams = daydream.streams
    prompt = [["paper lantern", 1.0], ["frosted glass", 0.4]]
    params = {"model_id": model_id, "prompt": prompt, "seed": 7, "t_index_list": [16, 32]}
    created = streams.create_stream(request={"pipeline": "streamdiffusion", "name": "python", "params": params})
    assert created.id.startswith("str_") and created.name == "python"
    assert created.whip_url.startswith(base + "/") and created.stream_key in created.whip_url
    assert created.params.model_id == model_id
    assert created.params.prompt == prompt, created.params.prompt
    assert created.params.t_index_list == [16, 32]
    assert created.params.controlnets == []

    change = {"pipeline": "streamdiffusion", "params": {"model_id": model_id, "prompt": "ink sketch"}}
    updated = streams.update_stream(id=created.id, body=change)
    assert updated.params.prompt == "ink sketch" and updated.params.t_index_list == [16, 32]
    assert streams.get_stream_by_id(id=created.id).model_dump() == updated.model_dump()
    listed = streams.get_all_streams()
    assert listed.success and any(stream["id"] == created.id for stream in listed.data)

    change["params"]["t_index_list"] = [3, 2]
    error = refused(errors.UpdateStreamBadRequestError, streams.update_stream, id=created.id, body=change)
    assert error.status_code == 400 and "t_index_list" in error.data.error

    assert streams.delete_stream(id=created.id).success
    refused(errors.DeleteStreamNotFoundError, streams.delete_stream, id=created.id)
    error = refused(errors.GetStreamByIDNotFoundError, streams.get_stream_by_id, id=created.id)
    assert error.data.code == "STREAMS/NOT_FOUND"


def main() -> None:
    """All models, and a key that is not the server's."""
    base, key = sys.argv[1:]
    with Daydream(bearer=key, server_url=base) as daydream:
        for model_id in MODELS:
            life(base, daydream, model_id)
    with Daydream(bearer="wrong", server_url=base) as stranger:
        refused(errors.GetAllStreamsUnauthorizedError, stranger.streams.get_all_streams)


main()
