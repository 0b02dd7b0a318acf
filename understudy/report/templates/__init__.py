"""The pages' templates; everything that is filled in is escaped unless it was made here."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from understudy.printable import printable


@cache
def environment() -> Environment:
    """Templates in which a name that is not there is a mistake, and texts are never markup."""
    return Environment(
        loader=PackageLoader("understudy.report", "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def rendered(template: str, **values: object) -> str:
    """A page, the same for the same values."""
    return environment().get_template(template).render(**values)
