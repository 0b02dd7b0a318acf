"""Bounds of settings, as annotations. Recipes are checked by them with pydantic, which is slow to import.

Objects made in Python are checked by the same annotations at their first use (``check``), a user's own terms included:
a term only declares ``temperature: Temperature = 4.0``. No bound admits NaN or infinity, and each ends where numbers
stop to have a meaning: the square of the largest one is still finite in float32.
"""

import dataclasses
import functools
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval as Interval

from understudy.errors import UserError
from understudy.printable import shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema

LARGEST = 1e9
MOST = 10**9  # of whole numbers
MOST_EPOCHS = 1_000_000  # of a stage: each one's views are numbered from a new million

Finite = Annotated[float, Interval(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Interval(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Interval(ge=0, le=LARGEST)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
ShareBetween = Annotated[float, Interval(gt=0, lt=1)]
Measured = Annotated[float, Interval(ge=0, lt=inf)]  # a size of somebody's data, in whatever unit they have
Temperature = Annotated[float, Interval(ge=1e-4, le=1e4)]  # logits divided by it, and its square, stay in float32
Exponent = Annotated[float, Interval(gt=0, le=100)]
Mark = Annotated[float, Interval(ge=0, le=MOST_EPOCHS)]  # a place in time: an epoch, or a share of all epochs
Count = Annotated[int, Interval(ge=1, le=MOST)]
Whole = Annotated[int, Interval(ge=0, le=MOST)]
Epochs = Annotated[int, Interval(ge=1, le=MOST_EPOCHS)]
Seed = Annotated[int, Interval(ge=0, lt=2**63)]  # as files and generators hold it
Threads = Annotated[int, Interval(ge=1, le=1024)]
Processes = Annotated[int, Interval(ge=0, le=1024)]
Layers = Annotated[int, Interval(ge=1, le=10_000)]  # of a network: a stack of modules
Width = Annotated[int, Interval(ge=1, le=1_000_000)]  # of a layer: its features or channels
Pieces = Annotated[int, Interval(ge=1, le=1_000)]  # of a maxout unit
Stride = Annotated[int, Interval(ge=1, le=100)]
Pixels = Annotated[int, Interval(ge=1, le=100_000)]  # the side of an image, or the length of a text

_OBJECTS = ("model_attributes_type", "dataclass_type")  # pydantic's error types where a description is expected
STRICT = {"extra": "forbid"}  # pydantic configuration of a description: unknown keys are refused


class ByName:
    """Annotation of a union of descriptions: ``name`` selects the member."""

    def __get_pydantic_core_schema__(self, source: object, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="name")])


def check(description: object, called: str) -> None:
    """Raise a UserError unless the fields of a description fit their annotations.

    Types are checked more strictly than in a recipe, whose values are converted: 3.0 is not an integer, 1 is not a
    boolean. In a dataclass of the user (a term, an optimizer) only the ``Annotated`` fields are checked.
    """
    if not dataclasses.is_dataclass(description) or isinstance(description, type):
        return
    for name, hint in _checked(type(description)).items():
        value = getattr(description, name)
        if reason := wrong(hint, value):
            raise UserError(f"{called}.{name} = {shown(value)}: {reason}")
        check(value, f"{called}.{name}")


def wrong(hint: object, value: object) -> str | None:
    """Why a value does not fit an annotation; None if it fits, and for objects of foreign types."""
    members = _ours_in(hint)
    if members and isinstance(value, (type, dict)):
        return f"an object belongs here, as {members[0].__name__}() is"
    if members and _is_ours(value) and not isinstance(value, members):
        return f"{type(value).__name__} is none of {', '.join(member.__name__ for member in members)}"
    return _invalid(hint, _frozen(value)) if _is_plain(value) or _is_choice(hint) else None


def _invalid(hint: object, value: object) -> str | None:
    from pydantic import PydanticSchemaGenerationError, ValidationError

    try:
        _adapter(hint).validate_python(value, strict=True)
    except PydanticSchemaGenerationError:  # an annotation unknown to pydantic, which no recipe can use
        return None
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(first["input"], float) and not isfinite(first["input"]):
            return "a finite number is expected"
        return "an object belongs here" if first["type"] in _OBJECTS else str(first["msg"])
    return None


def _is_plain(value: object) -> bool:
    """Whether a value and everything in it can be written to a file."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, type(None)))


def _is_choice(hint: object) -> bool:
    """Whether an annotation is a ``Literal`` or an optional one."""
    arguments = get_args(hint)
    return get_origin(hint) is Literal or (bool(arguments) and all(_is_choice(a) or a is type(None) for a in arguments))


def _frozen(value: object) -> object:
    """The value with lists as tuples, the form in which descriptions keep them."""
    return tuple(map(_frozen, value)) if isinstance(value, (tuple, list)) else value


def _is_ours(value: object) -> bool:
    return dataclasses.is_dataclass(value) and type(value).__module__.startswith("understudy.")


def _ours_in(hint: object) -> tuple[type, ...]:
    """The descriptions of this package in an annotation, alone or in a union."""
    if isinstance(hint, type):
        return (hint,) if dataclasses.is_dataclass(hint) and hint.__module__.startswith("understudy.") else ()
    return tuple(description for member in get_args(hint) for description in _ours_in(member))


@functools.cache
def _checked(kind: "type[DataclassInstance]") -> dict[str, object]:
    """The annotations that ``check`` applies: all in this package's classes, only bounds in other classes."""
    if kind.__module__.startswith("understudy."):
        return hints(kind)
    try:
        return {name: hint for name, hint in hints(kind).items() if _is_bounded(hint)}
    except NameError:  # an annotation imported under TYPE_CHECKING only
        return {}


def _is_bounded(hint: object) -> bool:
    return get_origin(hint) is Annotated or any(map(_is_bounded, get_args(hint)))


@functools.cache
def hints(kind: "type[DataclassInstance]") -> dict[str, object]:
    """The annotations of a dataclass's fields, in their order."""
    types = get_type_hints(kind, include_extras=True)
    return {field.name: types[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _adapter(hint: Any) -> "TypeAdapter[object]":
    from pydantic import TypeAdapter

    return TypeAdapter(hint)
