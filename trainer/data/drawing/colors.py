"""Random colours of drawn things: RGB triples of floats in [0, 255]."""

import colorsys

from numpy.random import Generator

Color = tuple[float, float, float]

BLACK: Color = (28.0, 28.0, 32.0)
WHITE: Color = (244.0, 243.0, 238.0)
STEEL: Color = (150.0, 156.0, 164.0)
GLASS: Color = (168.0, 204.0, 222.0)

FUR: tuple[Color, ...] = (
    (40, 38, 40), (96, 66, 44), (142, 98, 58), (190, 138, 84), (222, 188, 142), (238, 232, 222),
    (128, 126, 126), (206, 122, 52),
)  # fmt: skip
SKIN: tuple[Color, ...] = ((246, 212, 184), (232, 184, 148), (200, 146, 106), (150, 100, 68), (102, 66, 46))
HAIR: tuple[Color, ...] = ((30, 26, 26), (72, 46, 32), (128, 84, 48), (214, 172, 98), (168, 72, 40), (170, 170, 172))
WOOD: tuple[Color, ...] = ((92, 60, 38), (128, 84, 52), (166, 118, 74), (202, 158, 108), (66, 48, 38), (228, 214, 192))
LEAF: tuple[Color, ...] = ((52, 104, 52), (84, 138, 58), (118, 152, 64), (44, 88, 68), (198, 142, 48), (178, 84, 44))


def random_color(rng: Generator) -> Color:
    """Any hue; mostly medium saturation, now and then nearly grey."""
    saturation = rng.uniform(0.0, 0.2) if rng.random() < 0.2 else rng.uniform(0.35, 0.9)
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.35, 0.97))
    return (red * 255, green * 255, blue * 255)


def pale_color(rng: Generator) -> Color:
    """A light colour of little saturation, as of walls and skies."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.03, 0.35), rng.uniform(0.6, 0.97))
    return (red * 255, green * 255, blue * 255)


def pick(rng: Generator, natural: tuple[Color, ...], random_share: float = 0.25) -> Color:
    """One of the natural colours, varied; any colour at all for a share of things: colour never tells the class."""
    if rng.random() < random_share:
        return random_color(rng)
    return shade(natural[int(rng.integers(len(natural)))], rng.uniform(0.85, 1.15))


def shade(color: Color, factor: float) -> Color:
    """Darker below 1 (towards black), lighter above 1 (towards white)."""
    if factor <= 1:
        return (color[0] * factor, color[1] * factor, color[2] * factor)
    return mix(color, (255.0, 255.0, 255.0), min(factor - 1, 1.0))


def mix(first: Color, second: Color, share: float) -> Color:
    """The colour a `share` in [0, 1] of the way from the first to the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)
