"""Prompt grammar: style phrases, subject words and sentence patterns."""

import random

# (phrase, True when "<phrase> of <subject>" is good English)
PHRASES = {
    "photo": [
        ("a photo", 1),
        ("a photograph", 1),
        ("realistic photo", 1),
        ("natural photograph, no effects", 0),
        ("photorealistic", 0),
        ("plain camera footage", 1),
        ("realistic", 0),
        ("raw photo, dslr", 0),
    ],
    "pencil": [
        ("a pencil sketch", 1),
        ("pencil drawing, graphite on paper", 0),
        ("a graphite drawing", 1),
        ("hand drawn sketch", 1),
        ("pencil", 0),
        ("sketchbook drawing, soft shading", 0),
        ("charcoal sketch", 1),
    ],
    "ink": [
        ("ink line art", 1),
        ("black and white line drawing", 1),
        ("pen and ink drawing", 1),
        ("manga ink, black lines", 0),
        ("lineart", 0),
        ("ink", 0),
        ("black ink on white paper", 0),
    ],
    "cartoon": [
        ("a cartoon", 1),
        ("cartoon style", 0),
        ("anime style, cel shading", 0),
        ("animated movie", 0),
        ("cel shaded", 0),
        ("anime", 0),
        ("comic cartoon, bold outlines", 0),
    ],
    "oil": [
        ("an oil painting", 1),
        ("oil on canvas", 0),
        ("thick brush strokes, oil paint", 0),
        ("classical painting", 1),
        ("impasto painting", 1),
        ("oil paint", 0),
        ("renaissance oil portrait", 1),
    ],
    "watercolor": [
        ("a watercolor painting", 1),
        ("watercolour on paper", 0),
        ("soft watercolor wash", 1),
        ("aquarelle", 1),
        ("watercolor", 0),
        ("pale pastel watercolor", 0),
        ("delicate watercolor illustration", 1),
    ],
    "mosaic": [
        ("a mosaic", 1),
        ("mosaic tiles", 0),
        ("roman mosaic, small stone tiles", 0),
        ("made of ceramic tiles", 0),
        ("tile mosaic with grout", 1),
        ("tiles", 0),
        ("byzantine mosaic", 1),
    ],
    "pixelart": [
        ("pixel art", 1),
        ("8-bit video game", 0),
        ("retro game sprite", 1),
        ("16 bit pixel graphics", 0),
        ("pixelated", 0),
        ("pixel", 0),
        ("old arcade game", 0),
    ],
    "popart": [
        ("pop art", 1),
        ("comic halftone dots", 0),
        ("comic book print, halftone", 0),
        ("warhol pop art poster", 1),
        ("retro comic page", 1),
        ("halftone", 0),
        ("lichtenstein style dots", 0),
    ],
    "neon": [
        ("cyberpunk city, neon lights", 0),
        ("cyberpunk", 0),
        ("neon glow", 0),
        ("glowing neon outlines", 1),
        ("synthwave, magenta and cyan", 0),
        ("neon", 0),
        ("tron, glowing edges", 0),
        ("vaporwave neon", 0),
    ],
    "blueprint": [
        ("a blueprint", 1),
        ("architect blueprint, white lines on blue", 0),
        ("technical drawing on blue paper", 1),
        ("engineering blueprint", 1),
        ("cyanotype plan", 1),
        ("blueprint", 0),
        ("schematic, blue", 0),
    ],
    "thermal": [
        ("thermal camera", 0),
        ("heat map", 1),
        ("infrared thermal vision", 0),
        ("thermal imaging, hot and cold", 0),
        ("predator vision", 0),
        ("thermal", 0),
        ("flir heat camera", 0),
    ],
    "sepia": [
        ("vintage sepia film", 0),
        ("old sepia photograph", 1),
        ("antique photo, faded brown", 1),
        ("sepia", 0),
        ("1900s daguerreotype", 1),
        ("vintage", 0),
        ("old western film, sepia tone", 0),
    ],
    "night": [
        ("moonlit night", 0),
        ("at night, dark blue moonlight", 0),
        ("midnight, moon light", 0),
        ("night scene", 1),
        ("dark night", 0),
        ("night", 0),
        ("under the moon", 0),
    ],
    "sunset": [
        ("golden sunset", 0),
        ("at sunset, warm orange light", 0),
        ("golden hour", 0),
        ("evening sun, orange sky", 0),
        ("warm sunset glow", 0),
        ("sunset", 0),
        ("dusk, golden light", 0),
    ],
    "noir": [
        ("film noir", 0),
        ("black and white film", 1),
        ("high contrast monochrome", 0),
        ("noir movie, deep shadows", 0),
        ("black and white photograph", 1),
        ("noir", 0),
        ("monochrome, dramatic", 0),
    ],
    "stained": [
        ("stained glass", 0),
        ("stained glass window", 1),
        ("cathedral window, coloured glass", 0),
        ("leaded glass", 0),
        ("church stained glass panel", 1),
        ("colorful glass with black lead", 0),
        ("vitrail", 1),
    ],
    "bronze": [
        ("bronze statue", 1),
        ("a bronze sculpture", 1),
        ("metal relief", 1),
        ("cast bronze, embossed", 0),
        ("bronze", 0),
        ("golden metal statue", 1),
        ("copper embossing", 1),
    ],
    "winter": [
        ("snowy winter", 0),
        ("covered in snow", 0),
        ("frozen, ice and snow", 0),
        ("winter wonderland", 0),
        ("cold winter, frost", 0),
        ("snow", 0),
        ("blizzard, white snow", 0),
    ],
    "engraving": [
        ("a copper engraving", 1),
        ("etching, fine parallel lines", 0),
        ("engraved banknote portrait", 1),
        ("cross-hatching", 0),
        ("hatched line engraving", 1),
        ("engraving", 0),
        ("woodblock hatching, old book print", 0),
        ("steel engraving", 1),
        ("dollar bill style lines", 0),
    ],
    "linocut": [
        ("a linocut print", 1),
        ("red linocut", 1),
        ("block print, one colour", 0),
        ("linoleum cut", 1),
        ("relief print, carved lines", 0),
        ("linocut", 0),
        ("red woodcut poster", 1),
        ("hand printed in red ink", 0),
    ],
    "chalk": [
        ("a chalk drawing", 1),
        ("chalk on a blackboard", 0),
        ("blackboard sketch", 1),
        ("chalkboard", 0),
        ("white chalk lines on green board", 0),
        ("chalk", 0),
        ("school board drawing", 1),
        ("drawn with chalk", 0),
    ],
    "newspaper": [
        ("newspaper print", 1),
        ("black halftone dots", 0),
        ("newsprint photo", 1),
        ("printed in an old newspaper", 0),
        ("coarse black and white halftone", 0),
        ("newspaper", 0),
        ("photocopied zine page", 1),
        ("xerox halftone", 0),
    ],
    "crossstitch": [
        ("cross stitch", 1),
        ("embroidery on linen", 0),
        ("cross-stitch sampler", 1),
        ("embroidered picture", 1),
        ("stitched with colourful thread", 0),
        ("embroidery", 0),
        ("needlework", 1),
        ("counted cross stitch", 0),
    ],
    "led": [
        ("an led wall", 1),
        ("led screen, glowing lamps", 0),
        ("stadium display", 1),
        ("light bulbs billboard", 1),
        ("big screen made of leds", 0),
        ("led", 0),
        ("dot matrix display", 1),
        ("glowing pixels of a video wall", 0),
    ],
    "knitted": [
        ("a knitted sweater pattern", 1),
        ("knitting, wool yarn", 0),
        ("knitted wool", 0),
        ("made of wool stitches", 0),
        ("knitted scarf", 1),
        ("knitted", 0),
        ("cosy knitwear", 1),
        ("crochet and yarn", 0),
    ],
    "duotone": [
        ("duotone poster", 1),
        ("violet and orange duotone", 0),
        ("two-colour screen print", 1),
        ("gig poster, duotone", 0),
        ("purple and orange gradient map", 0),
        ("duotone", 0),
        ("spotify style cover", 1),
        ("risograph print, two inks", 0),
    ],
    "vangogh": [
        ("van gogh painting", 1),
        ("starry night, swirling brush strokes", 0),
        ("in the style of van gogh", 0),
        ("post-impressionist swirls", 0),
        ("vincent van gogh", 0),
        ("van gogh", 0),
        ("swirling blue and yellow paint", 0),
    ],
}

# Wordings never used in training; the evaluation asks these.
TEST = {
    "photo": "a realistic photograph of a person",
    "pencil": "pencil sketch portrait on paper",
    "ink": "black ink lines, line art portrait",
    "cartoon": "cartoon character with bold outlines",
    "oil": "oil painting of a person on canvas",
    "watercolor": "a soft watercolor of a friend",
    "mosaic": "ancient roman tile mosaic",
    "pixelart": "8-bit pixel art hero",
    "popart": "comic book pop art with halftone dots",
    "neon": "cyberpunk person, glowing neon",
    "blueprint": "blueprint drawing of a person, white on blue",
    "thermal": "seen through a thermal infrared camera",
    "sepia": "vintage sepia portrait",
    "night": "a dark night with moonlight",
    "sunset": "a warm golden sunset light",
    "noir": "classic film noir, monochrome",
    "stained": "a stained glass church window",
    "bronze": "a statue cast in bronze",
    "winter": "winter, snow and ice everywhere",
    "vangogh": "painted by van gogh, swirls",
    "engraving": "an old engraving with hatching",
    "linocut": "linocut of a person, red ink",
    "chalk": "chalk sketch on a school blackboard",
    "newspaper": "a halftone picture in a newspaper",
    "crossstitch": "an embroidered cross stitch portrait",
    "led": "shown on a led video wall",
    "knitted": "a person knitted from wool",
    "duotone": "duotone print in violet and orange",
}

SUBJECTS = (
    "a person|a man|a woman|a face|portrait of a person|portrait of a woman|a friend|people|"
    "a child|a flower|flowers|a rose|a sunflower|a tulip|a daisy|a dandelion|a garden|a cat|"
    "a dog|a rabbit|an animal|a bird|a horse|a car|a street|a city|a house|a room|an office|"
    "a forest|trees|a tree|a mountain|a river|the sea|the sky|a bottle|a cup of coffee|food|"
    "a cake|a robot|a hero|a king|a wizard|a dancer|hands|someone waving|a desk|a smiling face|"
    "an astronaut|a rocket|a castle|a bridge|a toy|a book|a computer|glasses|a hat|an old man|"
    "a girl|a boy|a musician|a landscape|a village"
).split("|")
EXTRA = (
    "highly detailed|masterpiece|best quality|beautiful|4k|sharp focus|intricate|artstation|dramatic|elegant|"
    "close up|wide shot|soft light|centered|8k|trending|amazing|cinematic"
).split("|")


# Words for a picture halfway between the photo and the style.
WEAK = ("subtle|slight|faint|light touch of|hint of|a little|half|mild|gentle|weak").split("|")
STRONG = ("strong|bold|very|extreme|pure|full|heavy|intense").split("|")


def phrase_of(style, subject, rng):
    """A style phrase in a sentence, most often with a subject."""
    phrase, noun = rng.choice(PHRASES[style])
    u = rng.random()
    if u < 0.30:
        return phrase
    if u < 0.55:
        return f"{subject}, {phrase}"
    if u < 0.70:
        return f"{phrase}, {subject}"
    if u < 0.90:
        return f"{phrase} of {subject}" if noun else f"{subject} {phrase}"
    return f"{phrase}, {rng.choice(PHRASES[style])[0]}, {subject}"


def make_prompt(style, rng=random, weak=False):
    """A random sentence for a style name; `weak` asks for a picture halfway to it."""
    r = rng.random
    subject = rng.choice(SUBJECTS)
    if style == "photo" and r() < 0.45:
        return "" if r() < 0.6 else subject
    sentence = phrase_of(style, subject, rng)
    if weak:
        sentence = f"{rng.choice(WEAK)} {sentence}"
    elif r() < 0.08:
        sentence = f"{rng.choice(STRONG)} {sentence}"
    while r() < 0.25:
        sentence += ", " + rng.choice(EXTRA)
    return sentence


def make_mixture(first, second, rng=random):
    """A sentence that asks for two styles at once."""
    a, b = (rng.choice(PHRASES[style])[0] for style in (first, second))
    subject = rng.choice(SUBJECTS)
    return rng.choice([f"{a}, {b}", f"{a} and {b}", f"{subject}, {a}, {b}", f"{a} mixed with {b}, {subject}"])
