"""Bounds of settings, as annotations: recipes are checked by them (with pydantic, which is slow to import).

What is made in Python is checked by the same ones where it is first used (``check``).
"""

import dataclasses
import functools
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Interval as Interval

from understudy.errors import UserError

_OBJECTS = ("model_attributes_type", "dataclass_type")  # what pydantic says where a description is expected
STRICT = {"extra": "forbid"}  # a description's configuration: it takes no key that it does not know


class ByName:
    """Of several descriptions, the one whose ``name`` is given."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="name")])


def check(description: Any, called: str) -> None:
    """See that a description of this package keeps within its annotations; or a UserError.

    About kinds this is stricter than a recipe, whose values are converted: no 3.0 for a whole number, no 1 for a truth
    value. Descriptions of somebody's own (an optimizer, a term) are theirs to check.
    """
    if not _is_ours(description):
        return
    kind: Any = type(description)
    for name, hint in _hints(kind).items():
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
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)
