"""Things that are no demo class: what the demo backbone is pre-trained on, as ImageNet is to VOC."""

from trainer.data.drawing.catalogue import Subject

from . import food_and_nature, household, tools_and_toys

_ANYWHERE = ("street", "field", "room", "tabletop", "studio", "clutter")

SUBJECTS: tuple[Subject, ...] = tuple(
    Subject(
        draw.__name__.replace("_", " "),
        draw,
        _ANYWHERE,
        flies=draw.__name__ in {"kite", "balloon", "butterfly", "rocket"},
    )
    for module in (food_and_nature, household, tools_and_toys)
    for draw in module.DRAWN
)

CLASS_NAMES: tuple[str, ...] = tuple(subject.name for subject in SUBJECTS)
