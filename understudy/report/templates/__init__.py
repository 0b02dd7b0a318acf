"""The templates of pages. All values are escaped, apart from markup of this package."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from understudy.printable import printable


@cache
def environment() -> Environment:
    """The environment of templates: undefined names are errors, and values are escaped."""
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
    """Render a page; equal values give equal bytes."""
    return environment().get_template(template).render(**values)
