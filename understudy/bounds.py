"""Bounds of settings, as annotations: recipes are checked by them (with pydantic, which is slow to import).

What is made in Python is checked by the same annotations where it is first used (``check``), a user's own terms
included: ``temperature: Positive = 4.0`` is all that a term has to say. NaN and infinity are in none of these bounds.
"""

import dataclasses
import functools
from math import inf
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval as Interval

from understudy.errors import UserError

Finite = Annotated[float, Interval(gt=-inf, lt=inf)]
Positive = Annotated[float, Interval(gt=0, lt=inf)]
NonNegative = Annotated[float, Interval(ge=0, lt=inf)]
Share = Annotated[float, Interval(ge=0, le=1)]
PositiveShare = Annotated[float, Interval(gt=0, le=1)]
ShareBelowOne = Annotated[float, Interval(ge=0, lt=1)]
Count = Annotated[int, Interval(ge=1)]
Whole = Annotated[int, Interval(ge=0)]

_OBJECTS = ("model_attributes_type", "dataclass_type")  # what pydantic says where a description is expected
STRICT = {"extra": "forbid"}  # a description's configuration: it takes no key that it does not know

# Of a field that was added to a term after its first release: at its default it is no part of a training's key, so that
# trainings of before stay valid.
ADDED = {"added": True}


class ByName:
    """Of several descriptions, the one whose ``name`` is given."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="name")])


def check(description: Any, called: str) -> None:
    """Raise a UserError unless a description keeps within its annotations.

    About kinds this is stricter than a recipe, whose values are converted: 3.0 is no whole number, 1 no truth value.
    Of a user's own dataclass (a term, an optimizer) the ``Annotated`` fields are checked; the others are not.
    """
    if not dataclasses.is_dataclass(description) or isinstance(description, type):
        return
    for name, hint in _checked(type(description)).items():
        value = getattr(description, name)
        if reason := wrong(hint, value):
            raise UserError(f"{called}.{name} = {value!r}: {reason}")
        check(value, f"{called}.{name}")


def wrong(hint: Any, value: Any) -> str | None:
    """Why a value is not what an annotation asks for; None where it is, and where it is an object of somebody's own."""
    members = _ours_in(hint)
    if members and isinstance(value, (type, dict)):
        return f"an object belongs here, as {members[0].__name__}() is"
    if members and _is_ours(value) and not isinstance(value, members):
        return f"{type(value).__name__} is none of {', '.join(member.__name__ for member in members)}"
    return _invalid(hint, _frozen(value)) if _is_plain(value) or _is_choice(hint) else None


def _invalid(hint: Any, value: Any) -> str | None:
    from pydantic import PydanticSchemaGenerationError, ValidationError

    try:
        _adapter(hint).validate_python(value, strict=True)
    except PydanticSchemaGenerationError:  # an annotation of somebody's own, which no recipe could have
        return None
    except ValidationError as error:
        first = error.errors()[0]
        return "an object belongs here" if first["type"] in _OBJECTS else str(first["msg"])
    return None


def _is_plain(value: Any) -> bool:
    """Whether it could stand in a file, with all that it holds."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, type(None)))


def _is_choice(hint: Any) -> bool:
    """Whether it names the values themselves, one of which it must be."""
    arguments = get_args(hint)
    return get_origin(hint) is Literal or (bool(arguments) and all(_is_choice(a) or a is type(None) for a in arguments))


def _frozen(value: Any) -> Any:
    """Lists as the tuples that descriptions keep."""
    return tuple(map(_frozen, value)) if isinstance(value, (tuple, list)) else value


def _is_ours(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and type(value).__module__.startswith("understudy.")


def _ours_in(hint: Any) -> tuple[type, ...]:
    """The descriptions of this package that an annotation names, alone or as one of several."""
    if isinstance(hint, type):
        return (hint,) if dataclasses.is_dataclass(hint) and hint.__module__.startswith("understudy.") else ()
    return tuple(found for member in get_args(hint) for found in _ours_in(member))


@functools.cache
def _checked(kind: Any) -> dict[str, Any]:
    """The annotations of a description's fields that are checked: all of this package's, the bounds of others."""
    if kind.__module__.startswith("understudy."):
        return hints(kind)
    try:
        return {name: hint for name, hint in hints(kind).items() if _is_bounded(hint)}
    except NameError:  # an annotation that is imported for type checkers alone
        return {}


def _is_bounded(hint: Any) -> bool:
    return get_origin(hint) is Annotated or any(map(_is_bounded, get_args(hint)))


@functools.cache
def hints(kind: Any) -> dict[str, Any]:
    """The annotations of a dataclass's fields, in their order."""
    found = get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)
