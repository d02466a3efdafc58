"""JSON values that remember where they stand, so that a complaint about a world names the place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class WorldError(Exception):
    """A world that cannot be simulated; the message names the place and what it should hold."""


@dataclass(frozen=True)
class Shape:
    """One JSON value and its place in the world. An absent member and `null` are the same."""

    value: object
    place: str

    def wrong(self, expected: str) -> WorldError:
        return WorldError(f"{self.place}: expected {expected}, found {type(self.value).__name__} {self.value!r:.60}.")

    def members(self) -> dict[str, Shape]:
        return {name: Shape(value, f"{self.place}.{name}") for name, value in self.as_object().items()}

    def member(self, name: str) -> Shape | None:
        value = self.as_object().get(name)
        return None if value is None else Shape(value, f"{self.place}.{name}")

    def items(self, name: str) -> Iterator[Shape]:
        """The members of an optional list."""
        found = self.member(name)
        if found is None:
            return
        if not isinstance(found.value, list):
            raise found.wrong("a list")
        for index, value in enumerate(found.value):
            yield Shape(value, f"{found.place}[{index}]")

    def objects(self, name: str) -> dict[str, Shape]:
        """The members of an optional object."""
        return self.part(name).members()

    def text(self, name: str, default: str | None = None) -> str:
        found = self.member(name)
        if found is None:
            if default is None:
                raise WorldError(f"{self.place}: {name} is missing.")
            return default
        return found.as_text()

    def as_text(self) -> str:
        if not isinstance(self.value, str):
            raise self.wrong("text")
        return self.value

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(item.as_text() for item in self.items(name))

    def pairs(self, name: str) -> dict[str, str]:
        """An optional object whose values are all text."""
        return self.part(name).as_pairs()

    def as_pairs(self) -> dict[str, str]:
        return {key: shape.as_text() for key, shape in self.members().items()}

    def flag(self, name: str, default: bool = False) -> bool:
        found = self.member(name)
        if found is None:
            return default
        if isinstance(found.value, str):  # the entity reference says "UNVERIFIED-likely true"
            return found.value.endswith("true")
        if not isinstance(found.value, bool):
            raise found.wrong("true or false")
        return found.value

    def number(self, name: str, default: int) -> int:
        found = self.member(name)
        if found is None:
            return default
        if not isinstance(found.value, int) or isinstance(found.value, bool):
            raise found.wrong("a whole number")
        return found.value

    def part(self, name: str) -> Shape:
        """An optional object; empty when it is absent."""
        return Shape(self.plain(name), f"{self.place}.{name}")

    def plain(self, name: str) -> dict[str, object]:
        """An optional object, as it stands."""
        found = self.member(name)
        return {} if found is None else found.as_object()

    def as_object(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return self.value
