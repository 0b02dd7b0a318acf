"""The families of networks: found here, and those of other packages.

Adding one is adding a file with a ``Family`` at its top level. Another package registers one in the group
``understudy.networks``, under the beginning of its name (``turtle`` for ``turtle<depth>``).
"""

from understudy import plugins
from understudy.models.family import Family


def _wrong(name: str, thing: object) -> str | None:
    if not isinstance(thing, Family):
        return f"it is of type {type(thing).__name__}, not a {Family.__module__}.{Family.__name__}"
    begins = thing.name.startswith(name)
    return None if begins else f"its networks are called {thing.name!r}, which does not begin with {name!r}"


FAMILIES: plugins.Registry[Family] = plugins.Registry(
    "network", plugins.NETWORKS, plugins.defined_in(__name__, Family), _wrong
)
