"""Writes the broken files under tests/bad/weights, tests/bad/lora, tests/bad/config, tests/bad/tokenizer and
tests/bad/pickle.

Each file (or folder, where it takes several files to be wrong) is broken in one way, which its name tells; the text
that the refusal must contain stands in `expected.json` beside them. Needs Python 3.10+ alone:

    python tests/bad/make.py
"""
import json
import math
import pathlib
import shutil
import struct

from pickled import PICKLES

HERE = pathlib.Path(__file__).resolve().parent


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, shape=None, dtype="F32"):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


def one(data=bytes(8), **changes):
    return safetensors({"a.weight": {**tensor(0, 8), **changes}}, data)


GOOD = safetensors({"a.weight": tensor(0, 8)}, bytes(8))
INFINITE = struct.pack("<ff", 1.0, float("inf"))
CONFIG = {"config.json": '{"_class_name": "AutoencoderTiny"}'}
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def index(**weight_map):
    return {INDEX: json.dumps({"weight_map": {name.replace("_", "."): file for name, file in weight_map.items()}})}


FIRST, SECOND = (f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2))

WEIGHTS = {
    "empty.safetensors": (b"", "got 0 bytes, expected at least 8"),
    "shorter_than_the_length.safetensors": (bytes(7), "got 7 bytes"),
    "header_cut.safetensors": (GOOD[:40], "expected at most the 32 bytes that follow"),
    "header_longer_than_the_file.safetensors": (safetensors({}, length=10_000), "header length: got 10000, expected at most the 2 bytes that follow"),
    "header_over_the_limit.safetensors": (safetensors({}, length=33_554_433), "got 33554433, expected at most 33554432"),
    "header_of_the_largest_length.safetensors": (safetensors({}, length=2**64 - 1), "got 18446744073709551615, expected at most"),
    "header_not_json.safetensors": (safetensors("{a: 1}"), "key must be a string"),
    "header_a_list.safetensors": (safetensors("[]"), "expected an object of tensors"),
    "header_not_utf8.safetensors": (safetensors(b'{"\xff\xfe": 1}'), "invalid unicode"),
    "header_nested_deep.safetensors": (safetensors('{"a": ' + '{"b": ' * 200 + "1" + "}" * 200 + "}"), "missing field `dtype`"),
    "metadata_not_of_texts.safetensors": (safetensors({"__metadata__": {"format": ["pt"]}}), "expected a string"),
    "header_with_more_behind.safetensors": (safetensors("{} {}"), "trailing characters"),
    "header_of_zero_bytes.safetensors": (safetensors(""), "EOF while parsing"),
    "overlap.safetensors": (safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), 'start of tensor "b": got 4, expected 8, the end of the tensor before it; they overlap'),
    "same_bytes_twice.safetensors": (safetensors({"a": tensor(0, 8), "b": tensor(0, 8)}, bytes(8)), "they overlap"),
    "hole.safetensors": (safetensors({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)), "got 8, expected 4, the end of the tensor before it; there is a gap"),
    "hole_at_the_start.safetensors": (safetensors({"a": tensor(4, 12)}, bytes(12)), "there is a gap"),
    "offset_past_the_end.safetensors": (safetensors({"a": tensor(0, 64)}, bytes(8)), "got 64, expected at most 8, the length of the data"),
    "offsets_reversed.safetensors": (one(data_offsets=[8, 0]), "got 8..0, expected 8 bytes"),
    "offset_negative.safetensors": (one(data_offsets=[-8, 0]), "invalid value: integer `-8`"),
    "offsets_three.safetensors": (one(data_offsets=[0, 8, 8]), "trailing characters"),
    "offset_too_large.safetensors": (safetensors('{"a.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 18446744073709551624]}}', bytes(8)), "invalid type: floating point"),
    "shape_overflows.safetensors": (one(shape=[2**40, 2**40]), "got more than 2^64 - 1 bytes"),
    "shape_times_dtype_overflows.safetensors": (one(shape=[2**62]), "got more than 2^64 - 1 bytes"),
    "shape_negative.safetensors": (one(shape=[-2]), "invalid value: integer `-2`"),
    "shape_of_fractions.safetensors": (one(shape=[2.5]), "invalid type: floating point `2.5`"),
    "shape_of_nine_dimensions.safetensors": (one(shape=[1] * 8 + [2]), "got more than 8 dimensions"),
    "shape_not_its_bytes.safetensors": (one(shape=[3]), "got 0..8, expected 12 bytes"),
    "dtype_unknown.safetensors": (one(dtype="F31"), 'type of tensor "a.weight": got "F31"'),
    "dtype_missing.safetensors": (safetensors({"a.weight": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), 'tensor "a.weight": missing field `dtype`'),
    "dtype_of_no_weight.safetensors": (one(dtype="I32"), "got type I32, expected F16, BF16, F32 or F64"),
    "name_twice.safetensors": (safetensors('{"a": %s, "a": %s}' % (json.dumps(tensor(0, 4)), json.dumps(tensor(4, 8))), bytes(8)), 'tensor "a": got two entries'),
    "name_too_long.safetensors": (safetensors({"x" * 600: tensor(0, 8)}, bytes(8)), "name: got 600 bytes, expected at most 512"),
    "data_cut.safetensors": (GOOD[:-3], "got 8, expected at most 5, the length of the data"),
    "data_left_over.safetensors": (GOOD + bytes(3), "length of the data: got 11 bytes, expected 8"),
    "holds_infinity.safetensors": (one(INFINITE), 'tensor "a.weight": got inf'),
    "holds_nan.safetensors": (one(struct.pack("<ff", float("nan"), 1.0)), 'tensor "a.weight": got NaN'),
    "holds_nan_in_half_precision.safetensors": (one(struct.pack("<eeee", 1, 1, float("nan"), 1), dtype="F16", shape=[4]), "got NaN"),
    "holds_more_than_f32_can.safetensors": (one(struct.pack("<d", 1e300), dtype="F64", shape=[1]), "got inf"),
    "a_pickle.safetensors": (b"\x80\x02}q\x00." + bytes(16), "got a pickle without the number at the start of torch's files"),
    "a_zip_archive.safetensors": (b"PK\x03\x04" + bytes(30), "end of the zip archive: got other bytes, expected its signature"),
    "a_git_lfs_pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "got a Git LFS pointer"),
    "a_gguf_file.safetensors": (b"GGUF\x03\0\0\0" + bytes(16), "got a GGUF file"),
    "pickled_alone": ({**CONFIG, "diffusion_pytorch_model.bin": b"\x80\x02."}, "pickled file: stack: got no value, expected one"),
    "no_weights": (CONFIG, "no weights: tried"),
    "shard_missing": ({**CONFIG, **index(a_weight=FIRST, b_weight=SECOND), FIRST: GOOD}, "cannot open"),
    "shard_in_another_folder": ({**CONFIG, **index(a_weight="../model.safetensors")}, 'shard: got "../model.safetensors", expected the plain name'),
    "shard_at_an_absolute_path": ({**CONFIG, **index(a_weight="/etc/model.safetensors")}, "expected the plain name of a .safetensors or pickled file"),
    "shard_with_another_ending": ({**CONFIG, **index(a_weight="model-00001-of-00001.msgpack")}, "expected the plain name of a .safetensors or pickled file"),
    "shard_broken": ({**CONFIG, **index(a_weight=FIRST), FIRST: GOOD[:-1]}, "got 8, expected at most 7"),
    "tensor_in_two_shards": ({**CONFIG, **index(a_weight=FIRST, b_weight=SECOND), FIRST: GOOD, SECOND: GOOD}, 'tensor "a.weight": got it in'),
    "tensor_not_in_its_shard": ({**CONFIG, **index(b_weight=FIRST), FIRST: GOOD}, "not in the shard"),
    "index_not_json": ({**CONFIG, INDEX: "{"}, "invalid index of shards"),
    "index_without_a_map": ({**CONFIG, INDEX: "{}"}, "missing field `weight_map`"),
}

CONFIGS = {
    "config_not_json": ({"config.json": "{'_class_name': 1}"}, "invalid JSON object: key must be a string"),
    "config_a_list": ({"config.json": "[]"}, "invalid JSON object"),
    "config_without_class": ({"config.json": '{"in_channels": 3}'}, "class: missing"),
    "config_with_a_number_for_class": ({"config.json": '{"_class_name": 3}'}, "class: missing"),
    "config_not_utf8": ({"config.json": b'{"_class_name": "\xff"}'}, "not UTF-8 text"),
    "config_nested_too_deep": ({"config.json": '{"a": ' + "[" * 300 + "]" * 300 + "}"}, "recursion limit exceeded"),
    "config_missing": ({"diffusion_pytorch_model.safetensors": GOOD}, "cannot open"),
    "model_index_not_json": ({"model_index.json": "{"}, "invalid JSON object"),
    "model_index_a_list": ({"model_index.json": '["unet"]'}, "invalid JSON object"),
    "model_index_without_parts": ({"model_index.json": '{"_class_name": "StableDiffusionPipeline", "unet": [null, null]}'}, "got no component"),
    "model_index_missing": ({"unet/config.json": "{}"}, "cannot open"),
    "checkpoint_in_one_file": ({"v1-5-pruned.safetensors": GOOD}, "got another safetensors file, expected a checkpoint of Stable Diffusion"),
}

UNET = {"_class_name": "UNet2DConditionModel", "block_out_channels": [320, 640], "norm_num_groups": 32}
UNETS = {
    "a_billion_channels.json": ({**UNET, "block_out_channels": [320, 10**9]}, "block_out_channels of the UNet config: got 1000000000, expected a whole number"),
    "negative_channels.json": ({**UNET, "block_out_channels": [-320, 640]}, "block_out_channels of the UNet config: got -320, expected a whole number"),
    "channels_as_text.json": ({**UNET, "block_out_channels": ["320", 640]}, "block_out_channels of the UNet config: got"),
    "no_blocks.json": ({**UNET, "block_out_channels": []}, "block_out_channels of the UNet config: got"),
    "a_thousand_blocks.json": ({**UNET, "block_out_channels": [320] * 1000}, "block_out_channels of the UNet config: got"),
    "groups_that_do_not_divide.json": ({**UNET, "norm_num_groups": 33}, "norm_num_groups of the UNet config: got 33, expected a divisor"),
    "no_groups.json": ({**UNET, "norm_num_groups": 0}, "norm_num_groups of the UNet config: got 0, expected a whole number"),
    "not_a_number.json": ('{"norm_eps": NaN}', "invalid JSON"),
}

VOCAB = {"!": 0, "a": 1, "b": 2, "a</w>": 3, "b</w>": 4, "ab</w>": 5, "<|startoftext|>": 6, "<|endoftext|>": 7}
MERGES = "#version: 0.2\na b</w>\n"


def tokenizer(vocab=VOCAB, merges=MERGES, **others):
    files = {"vocab.json": vocab if isinstance(vocab, str) else json.dumps(vocab), "merges.txt": merges}
    return files | {f"{name}.json": json.dumps(content) for name, content in others.items()}


def tokenizer_json(**changes):
    model = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": VOCAB, "merges": ["a b</w>"]}
    return {"tokenizer.json": json.dumps({"model": {**model, **changes}})}


def without(name):
    return {token: number for token, number in VOCAB.items() if token != name}


TOKENIZERS = {
    "vocab_not_json": (tokenizer(vocab="{"), "vocab.json: EOF"),
    "vocab_a_list": (tokenizer(vocab='["a"]'), "expected an object"),
    "vocab_with_a_negative_id": (tokenizer(vocab={**VOCAB, "c": -1}), "invalid value: integer `-1`"),
    "vocab_with_a_huge_id": (tokenizer(vocab={**VOCAB, "c": 4_000_000_000}), "got 4000000000, expected less than 262144"),
    "vocab_with_a_long_token": (tokenizer(vocab={**VOCAB, "c" * 2000: 8}), "token length: got 2000 bytes, expected at most 1024"),
    "vocab_without_the_end_token": (tokenizer(vocab=without("<|endoftext|>")), 'the special token "<|endoftext|>" is not in the vocabulary'),
    "merge_of_three": (tokenizer(merges="#version: 0.2\na b</w> a\n"), 'merges.txt line 2: got "a b</w> a", expected two tokens'),
    "merge_of_one": (tokenizer(merges="a\n"), "expected two tokens"),
    "merge_of_an_unknown_token": (tokenizer(merges="a z</w>\n"), "vocabulary and merges do not match"),
    "pad_token_not_in_the_vocabulary": (tokenizer(special_tokens_map={"pad_token": "<pad>"}), 'the special token "<pad>" is not in the vocabulary'),
    "special_token_a_number": (tokenizer(special_tokens_map={"pad_token": 7}), "special_tokens_map.json: "),
    "declared_token_with_another_id": (tokenizer(tokenizer_config={"added_tokens_decoder": {"3": {"content": "<|endoftext|>"}}}), "got 3, expected 7 as in the vocabulary"),
    "declared_token_without_number": (tokenizer(tokenizer_config={"added_tokens_decoder": {"x": {"content": "y"}}}), 'added_tokens_decoder: got "x"'),
    "json_of_another_type": (tokenizer_json(type="WordPiece"), 'got a model of type "WordPiece"'),
    "json_without_word_ends": (tokenizer_json(end_of_word_suffix=None), 'end_of_word_suffix ""'),
    "json_with_a_merge_of_one": (tokenizer_json(merges=["a"]), "merge: got one token, expected two"),
    "vocab_without_merges": ({"vocab.json": json.dumps(VOCAB)}, "got neither vocab.json with merges.txt nor tokenizer.json"),
}


def tensors(metadata=None, **shapes):
    """A file of zeros; names are written with `__` for dots."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name.replace("__", ".")] = tensor(begin, end, shape)
    return safetensors(header, bytes(end))


DOWN, UP = "a__lora_down__weight", "a__lora_up__weight"
PAIR = {DOWN: [2, 3], UP: [4, 2]}
PEFT = tensors(a__lora_A__weight=[2, 3], a__lora_B__weight=[4, 2])
LORAS = {
    "ranks_that_differ.safetensors": (tensors(**{DOWN: [2, 3], UP: [4, 3]}), '"a.lora_down.weight" of shape [2, 3] and "a.lora_up.weight" of shape [4, 3] do not form one layer'),
    "rank_of_zero.safetensors": (tensors(**{DOWN: [0, 3], UP: [4, 0]}), "of shape [0, 3]"),
    "input_of_no_channels.safetensors": (tensors(**{DOWN: [2, 0], UP: [4, 2]}), "of shape [2, 0]"),
    "vector.safetensors": (tensors(**{DOWN: [2], UP: [4, 2]}), '"a.lora_down.weight" of shape [2] and'),
    "up_with_a_wide_kernel.safetensors": (tensors(**{DOWN: [2, 3, 3, 3], UP: [4, 2, 3, 3]}), "of shape [4, 2, 3, 3]"),
    "middle_that_does_not_fit.safetensors": (tensors(**PAIR, a__lora_mid__weight=[2, 5, 3, 3]), '"a.lora_mid.weight" of shape [2, 5, 3, 3]'),
    "middle_that_widens.safetensors": (tensors(a__lora_down__weight=[1, 3], a__lora_mid__weight=[2, 1, 3, 3], a__lora_up__weight=[4, 2]), '"a.lora_mid.weight" of shape [2, 1, 3, 3]'),
    "middle_with_a_vast_kernel.safetensors": (tensors(**PAIR, a__lora_mid__weight=[2, 2, 9, 9]), '"a.lora_mid.weight" of shape [2, 2, 9, 9]'),
    "down_alone.safetensors": (tensors(**{DOWN: [2, 3]}), '"a.lora_down.weight" lacks its up tensor'),
    "up_alone.safetensors": (tensors(**{UP: [2, 3]}), '"a.lora_up.weight" lacks its down tensor'),
    "one_layer_twice.safetensors": (tensors(**PAIR, a__lora_A__weight=[2, 3]), "are the same part of one layer"),
    "alpha_of_two_numbers.safetensors": (tensors(**PAIR, a__alpha=[2]), '"a.alpha": got shape [2], expected one element'),
    "alpha_not_a_number.safetensors": (safetensors({"a.alpha": tensor(0, 4, [1]), "a.lora_down.weight": tensor(4, 8, [1, 1]), "a.lora_up.weight": tensor(8, 12, [1, 1])}, struct.pack("<fff", float("nan"), 1, 1)), 'tensor "a.alpha": got NaN'),
    "no_layer.safetensors": (tensors(conv_in__weight=[4, 3]), "LoRA layers: got none and 1 other tensors (conv_in.weight)"),
    "empty.safetensors": (safetensors({}), "LoRA layers: got none"),
    "a_dora.safetensors": (tensors(**PAIR, a__dora_scale=[4, 1]), "got DoRA, expected LoRA or LoCon"),
    "a_loha.safetensors": (tensors(a__hada_w1_a=[4, 2], a__hada_w1_b=[2, 3]), "got LoHa"),
    "header_with_a_broken_config.safetensors": (tensors({"lora_adapter_metadata": "{"}, **PAIR), "lora_adapter_metadata: invalid LoRA config"),
    "cut.safetensors": (PEFT[:-4], "the length of the data"),
    "folder_of_nothing": ({"README.md": "nothing"}, "tried pytorch_lora_weights.safetensors"),
    "folder_of_pickles": ({"pytorch_lora_weights.bin": "x"}, "got 1 bytes, expected at least 8"),
    "folder_of_several": ({"one.safetensors": PEFT, "two.safetensors": PEFT}, "got several, expected one; add its name to the id: one.safetensors, two.safetensors"),
    "config_not_json": ({"adapter_model.safetensors": PEFT, "adapter_config.json": "{"}, "adapter_config.json: invalid LoRA config"),
    "config_of_another_kind": ({"adapter_model.safetensors": PEFT, "adapter_config.json": '{"peft_type": "LOHA"}'}, 'got "LOHA", expected "LORA"'),
    "config_with_a_pattern": ({"adapter_model.safetensors": PEFT, "adapter_config.json": '{"alpha_pattern": {".*to_q": 1}}'}, 'got ".*to_q"'),
}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def main():
    for folder, cases in {"weights": WEIGHTS, "pickle": PICKLES, "lora": LORAS, "config": CONFIGS, "config/unet": UNETS, "tokenizer": TOKENIZERS}.items():
        shutil.rmtree(HERE / folder, ignore_errors=True)
        for name, (content, _) in cases.items():
            if name.endswith(".json") and isinstance(content, dict):
                content = json.dumps(content)
            for file, text in content.items() if isinstance(content, dict) else [("", content)]:
                write(HERE / folder / name / file, text)
        expected = {name: says for name, (_, says) in sorted(cases.items())}
        write(HERE / folder / "expected.json", json.dumps(expected, indent=2) + "\n")


main()
