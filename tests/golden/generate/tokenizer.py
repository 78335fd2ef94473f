"""Writes tests/golden/tokenizer.json: texts and the ids that transformers' CLIPTokenizer makes of them.

Run with Python 3.10+ and transformers, from anywhere:

    python tests/golden/generate/tokenizer.py

The tokenizer is the demo model's, once as it is and once with the pad token "!" that SD 2.1's folder has.
"""
import json
import pathlib
import shutil
import tempfile

import tokenizers
import transformers
from transformers import CLIPTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[3]
DEMO = ROOT / "models" / "demo" / "dreamframe-tiny" / "tokenizer"

TEXTS = [
    "",
    " ",
    "a photo",
    "A Van Gogh painting, Starry Night",
    "  leading, trailing  and   inner\tblanks\n\nand lines \r\n",
    "no\u00a0break\u2003em\u3000ideographic\u200bzero width",
    "don't can't I'm you're we've she'll he'd it's the dogs' DON'T",
    "1234567890 3.14159 1,000,000 2nd 0x7f \u00bd \u2167 \u0663",
    "hello!",
    "wow!!! !!! ! ?! (yes) [no] {maybe} <tag> </w> a_b-c@d#e$f%g^h&i*j+k=l|m\\n/o~p`q\"r'",
    "caf\u00e9 na\u00efve \u00fcber \u00c5ngstr\u00f6m stra\u00dfe \u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "cafe\u0301 decomposed a\u030a",
    "\u732b\u304c\u5ea7\u308b \u4e2d\u6587\u63d0\u793a\u8bcd \ud55c\uad6d\uc5b4",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600 a cat \U0001f408\u200d\u2b1b family \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1e9\U0001f1ea heart \u2764\ufe0f",
    "<|endoftext|>",
    "before <|endoftext|> after",
    "<|startoftext|> twice <|startoftext|>",
    "<|ENDOFTEXT|> and <|StartOfText|> in capitals",
    "x<|endoftext|>y<|startoftext|>!z",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "a" * 300,
    " ".join(["ink"] * 75),
    " ".join(["ink"] * 76),
    "many words, " * 60,
    "\x00 control \x07 \x1b[0m \ufffd \ufeff bom",
    "underscores_and-hyphens snake_case kebab-case CamelCase ALLCAPS",
    "https://example.org/path?query=1&x=y#fragment",
    "(masterpiece:1.2), [bad:0.5], best quality, 8k, f/1.8, 50mm",
    "\u201cquotes\u201d \u2018single\u2019 \u2026 \u2014 \u00ab\u00bb \u00a9\u00ae\u2122 \u20ac\u00a3\u00a5",
]


def encode(tokenizer, text):
    ids = tokenizer(text, padding="max_length", max_length=77, truncation=True)["input_ids"]
    whole = tokenizer(text)["input_ids"]
    assert len(ids) == 77
    while len(ids) > 1 and ids[-1] == ids[-2] == tokenizer.pad_token_id:
        ids.pop()
    return {"text": text, "ids": ids, "cut": max(0, len(whole) - 77)}


def with_pad(folder, pad):
    shutil.copytree(DEMO, folder, dirs_exist_ok=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = pathlib.Path(folder) / name
        content = json.loads(path.read_text())
        content["pad_token"] = pad
        path.chmod(0o644)
        path.write_text(json.dumps(content))
    return CLIPTokenizer.from_pretrained(folder)


def main():
    plain = CLIPTokenizer.from_pretrained(str(DEMO))
    with tempfile.TemporaryDirectory() as folder:
        exclamation = with_pad(folder, "!")
        golden = {
            "made_with": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
            "note": "ids are 77 long; a tail of equal pad ids is cut to one",
            "demo": [encode(plain, text) for text in TEXTS],
            "pad_is_exclamation_mark": [encode(exclamation, text) for text in TEXTS],
        }
    lines = json.dumps(golden, ensure_ascii=True, separators=(",", ":"))
    (ROOT / "tests" / "golden" / "tokenizer.json").write_text(lines.replace('{"text"', '\n{"text"') + "\n")


main()
