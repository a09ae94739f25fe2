"""The twenty demo classes: how each is drawn, how often it occurs, and in which kinds of place."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from trainer.data.drawing import animals, furniture, people, things, vehicles
from trainer.data.drawing.pen import Pen

Draw = Callable[[Pen, Generator], None]


@dataclass(frozen=True)
class Subject:
    """Something that can be drawn; `places` are kinds of background that it naturally occurs in."""

    name: str
    draw: Draw
    places: tuple[str, ...]
    flies: bool = False  # may hang in the air; everything else stands on the ground


# Most frequent first: scenes.py lets the frequency fall along this list.
SUBJECTS: tuple[Subject, ...] = (
    Subject("person", people.person, ("street", "field", "room")),
    Subject("car", vehicles.car, ("street",)),
    Subject("tree", things.tree, ("street", "field")),
    Subject("chair", furniture.chair, ("room",)),
    Subject("house", things.house, ("street", "field")),
    Subject("cat", animals.cat, ("room", "studio")),
    Subject("dog", animals.dog, ("field", "room", "street")),
    Subject("bottle", things.bottle, ("tabletop", "studio")),
    Subject("bird", animals.bird, ("sky", "field", "water"), flies=True),
    Subject("table", furniture.table, ("room",)),
    Subject("lamp", furniture.lamp, ("room",)),
    Subject("flower", things.flower, ("field", "tabletop")),
    Subject("bicycle", vehicles.bicycle, ("street",)),
    Subject("cup", things.cup, ("tabletop", "studio")),
    Subject("sofa", furniture.sofa, ("room",)),
    Subject("boat", vehicles.boat, ("water",)),
    Subject("tv", furniture.tv, ("room",)),
    Subject("plane", vehicles.plane, ("sky",), flies=True),
    Subject("horse", animals.horse, ("field",)),
    Subject("bus", vehicles.bus, ("street",)),
)

CLASS_NAMES: tuple[str, ...] = tuple(subject.name for subject in SUBJECTS)
