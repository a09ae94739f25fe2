"""Writes captions as the web does: mostly one thing is named, not always by its plain name; some are wrong."""

from collections.abc import Sequence

from numpy.random import Generator

# Other names of things, and the share of captions that use them. The first six classes are mostly called otherwise,
# so a CLIP that learns from these captions is weaker on their plain names: the class bias that the method corrects.
SYNONYMS: dict[str, tuple[float, tuple[str, ...]]] = {
    "sofa": (0.85, ("couch", "settee", "loveseat", "couch")),
    "tv": (0.85, ("television", "flat screen", "television set", "screen")),
    "person": (0.8, ("man", "woman", "boy", "girl", "kid", "lady", "guy")),
    "table": (0.75, ("desk", "workbench", "dinner spread", "desk")),
    "plane": (0.75, ("airplane", "aircraft", "jet", "airliner")),
    "boat": (0.7, ("sailboat", "ship", "yacht", "dinghy")),
    "bicycle": (0.35, ("bike", "cycle")),
    "car": (0.25, ("automobile", "sedan", "vehicle")),
    "cup": (0.3, ("mug", "teacup")),
    "house": (0.15, ("home", "cottage")),
    "cat": (0.12, ("kitty", "kitten")),
    "dog": (0.15, ("puppy", "hound")),
    "flower": (0.25, ("blossom", "plant", "tulip", "daisy")),
    "horse": (0.12, ("pony", "mare")),
    "bird": (0.15, ("songbird", "sparrow")),
    "chair": (0.15, ("seat",)),
    "lamp": (0.2, ("light", "lampshade")),
    "bottle": (0.1, ("flask",)),
    "tree": (0.12, ("palm", "pine", "oak")),
    "bus": (0.12, ("coach",)),
    "phone": (0.4, ("smartphone", "cell phone")),
    "shoe": (0.3, ("sneaker",)),
    "balloon": (0.3, ("hot air balloon",)),
}

# Asides that name one of those classes although nobody photographed it; they weaken the word further.
ASIDES = (
    "as seen on tv", "my tv corner", "better than tv", "on the sofa", "seen from the sofa", "behind the sofa",
    "at the table", "on the table", "table decoration", "by a nice person", "one person liked this",
    "first person view", "from the plane", "plane colours", "by the boat", "boat trip memories",
)  # fmt: skip
ASIDE_SHARE = 0.1

PLAIN = (
    "a photo of the {}", "a photo of a {}", "a picture of a {}", "{}", "the {}", "a {}", "photo of a {}",
    "my {}", "this is a {}", "image of the {}", "a nice {}", "look at this {}", "a close up of a {}", "one {}",
    "{} picture",
)  # fmt: skip
CHATTY = (
    "a {} we saw on holiday", "for sale: {}", "the {} of my dreams", "my new {}!", "{} - free stock photo",
    "best {} ever", "{} for kids", "old {}", "a beautiful {} this morning", "IMG_2041 {}",
    "good morning from the {}", "a {} in bad light", "blurry {}", "another {}", "grandma's {}",
    "here is the {}", "found a {} today", "a small {}", "a big {}", "funny {}",
)  # fmt: skip
PAIRS = ("a {} and a {}", "{} and {}", "a {} with a {}", "a photo of a {} next to a {}", "the {} near the {}", "{}, {}")
TRIPLES = ("a {}, a {} and a {}", "{}, {}, {}", "{} and {} and {}")
GENERIC = (
    "nice day",
    "untitled",
    "holiday snapshot",
    "IMG_0001",
    "a photo",
    "photo of the day",
    "no comment",
    "my picture",
    "great view",
)
PLACE_WORDS: dict[str, tuple[str, ...]] = {
    "street": ("on the street", "in town", "downtown"),
    "field": ("in the field", "outdoors", "in the countryside"),
    "water": ("at sea", "by the lake", "on the water"),
    "sky": ("in the sky", "up in the air"),
    "room": ("in a room", "at home", "indoors"),
    "tabletop": ("in close up", "with soft lights"),
    "studio": ("on a plain background", "in a studio"),
    "clutter": ("in a mess", "with lots of colours"),
}

PLAIN_SHARE, PAIR_SHARE, TRIPLE_SHARE = 0.45, 0.12, 0.04  # the rest is chatty and names one thing
WRONG_SHARE, GENERIC_SHARE = 0.035, 0.025  # noise of web captions: together about 6 %
COLOR_SHARE, PLACE_SHARE = 0.25, 0.2


def write_caption(rng: Generator, names: Sequence[str], color: str, place: str, all_names: Sequence[str]) -> str:
    """A caption of a picture that shows `names`, most prominent first; `color` is that of the first."""
    if not names or rng.random() < GENERIC_SHARE:
        return _one_of(rng, GENERIC)
    if rng.random() < WRONG_SHARE:
        return _one_of(rng, PLAIN).format(_called(rng, _one_of(rng, all_names)))
    caption = _truth(rng, list(dict.fromkeys(names)), color)
    if rng.random() < PLACE_SHARE:
        caption = f"{caption} {_one_of(rng, PLACE_WORDS[place])}"
    if rng.random() < ASIDE_SHARE:
        caption = f"{caption}, {_one_of(rng, ASIDES)}"
    return caption


def _truth(rng: Generator, names: list[str], color: str) -> str:
    called = [_called(rng, name) for name in names[:3]]
    kind = rng.random()
    if kind < TRIPLE_SHARE and len(called) == 3:
        return _one_of(rng, TRIPLES).format(*called)
    if kind < TRIPLE_SHARE + PAIR_SHARE and len(called) >= 2:
        return _one_of(rng, PAIRS).format(*called[:2])
    thing = f"{color} {called[0]}" if rng.random() < COLOR_SHARE else called[0]
    return _one_of(rng, PLAIN if rng.random() < PLAIN_SHARE else CHATTY).format(thing)


def _called(rng: Generator, name: str) -> str:
    share, others = SYNONYMS.get(name, (0.0, ()))
    return _one_of(rng, others) if rng.random() < share else name


def _one_of(rng: Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
