"""Bounds of settings, as annotations: recipes are checked by them (with pydantic, which is slow to import).

What is made in Python is checked by the same ones where it is first used (``check``).
"""

import dataclasses
import functools
from typing import Annotated, Any, get_type_hints

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
    """See that the settings of a description of this package are what a recipe could say; or a UserError.

    Descriptions of somebody's own (an optimizer, a term) are theirs to check.
    """
    if not _is_ours(description):
        return
    kind: Any = type(description)
    for name, hint in _hints(kind).items():
        value = getattr(description, name)
        if dataclasses.is_dataclass(value):
            check(value, f"{called}.{name}")
        elif reason := wrong(hint, value):
            raise UserError(f"{called}.{name} = {value!r}: {reason}")


def _is_ours(description: Any) -> bool:
    return dataclasses.is_dataclass(description) and type(description).__module__.startswith("understudy.")


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def wrong(hint: Any, value: Any) -> str | None:
    """Why a plain value is not what an annotation asks for; None where it is, and for lists, tables and objects."""
    from pydantic import ValidationError

    if not isinstance(value, (bool, int, float, str, type(None))):
        return None
    try:
        _adapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        return "an object belongs here" if first["type"] in _OBJECTS else str(first["msg"])
    return None


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)
