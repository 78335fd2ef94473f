"""Daydream's Python SDK against a server of ours: `python sdk.py BASE KEY [open]`. It wants KEY, or none where it is open."""

import sys

import httpx
from daydream import Daydream, errors, models
from jsonschema import Draft202012Validator

MODELS = ["stabilityai/sd-turbo", "stabilityai/sdxl-turbo", "Lykon/dreamshaper-8", "prompthero/openjourney-v4"]


def refused(kind, call, **arguments):
    """Calls what must be refused with an error of `kind`, and gives it."""
    try:
        call(**arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call.__name__} was not refused with {kind.__name__}")


def closed(schema):
    """A copy of a JSON schema in which objects have the properties that are named and no others."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: closed(item) for name, item in schema.items()}
    return {"additionalProperties": False, **copy} if "properties" in schema else copy


# The SDK's own reading leaves out what it does not know; this does not.
SCHEMAS = {
    "POST": Draft202012Validator(closed(models.CreateStreamResponse.model_json_schema())),
    "PATCH": Draft202012Validator(closed(models.UpdateStreamResponse.model_json_schema())),
    "GET": Draft202012Validator(closed(models.GetStreamByIDResponse.model_json_schema())),
}


# The public OpenAPI document has the first two; the SDK's models no longer do. The others are this server's own.
OTHERS = {"pipeline_id", "pipeline_params", "status", "playback_url", "control_token"}


class Checked(httpx.Client):
    """Holds what comes against the schemas of the SDK's models."""

    def send(self, request, **options):
        """Sends a request, and checks the returned stream."""
        response = super().send(request, **options)
        response.read()
        body = response.json()
        if response.is_success and "id" in body:
            SCHEMAS[request.method].validate({name: body[name] for name in body if name not in OTHERS})
            self.checked = getattr(self, "checked", 0) + 1
        return response


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
    base, key, *is_open = sys.argv[1:]
    client = Checked()
    with Daydream(bearer=key, server_url=base, client=client) as daydream:
        for model_id in MODELS:
            life(base, daydream, model_id)
    assert client.checked == 3 * len(MODELS), client.checked
    if is_open:
        return
    with Daydream(bearer="wrong", server_url=base) as stranger:
        refused(errors.GetAllStreamsUnauthorizedError, stranger.streams.get_all_streams)


main()
