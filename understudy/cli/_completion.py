"""What a shell completes beside the names of commands and options; nothing here imports PyTorch."""

from understudy.methods.listing import listed
from understudy.plugins import METHODS, registered


def method_names(incomplete: str) -> list[tuple[str, str]]:
    """The methods whose names begin so, each with its summary where its source is part of this package.

    >>> [name for name, _ in method_names("fit")]
    ['fitnets', 'fitnets-joint']
    """
    own = {method.name: method.summary.replace("``", "") for method in listed()}
    names = own | {name: "" for name in registered(METHODS) if name not in own}
    return [(name, summary) for name, summary in names.items() if name.startswith(incomplete)]
