"""Classical image filters that make the training targets.

Every filter takes an RGB uint8 array (height, width, 3) with sides that are multiples of 16, and returns the same
shape. Filters are deterministic, have no effect that depends on the place in the picture, and any regular texture
repeats every 8 or 16 pixels: its phase is then fixed relative to the latents, and a convolutional network can learn it.
"""

from .lines import blueprint, chalk, engraving, ink, linocut, neon, pencil
from .paint import cartoon, oil, stained, vangogh, watercolor
from .tiles import crossstitch, knitted, led, mosaic, newspaper, pixelart, popart
from .tones import bronze, duotone, night, noir, photo, sepia, sunset, thermal, winter

STYLES = {
    f.__name__: f
    for f in (
        photo,
        pencil,
        ink,
        engraving,
        linocut,
        chalk,
        blueprint,
        neon,
        cartoon,
        oil,
        watercolor,
        vangogh,
        stained,
        mosaic,
        pixelart,
        popart,
        newspaper,
        crossstitch,
        led,
        knitted,
        thermal,
        sepia,
        night,
        sunset,
        noir,
        bronze,
        winter,
        duotone,
    )
}
NAMES = list(STYLES)
