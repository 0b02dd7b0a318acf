"""Published methods as functions from a config to stages: one file each, found by its name."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.methods.method import Method as Method
    from understudy.methods.method import one_stage as one_stage
    from understudy.methods.registry import METHODS as METHODS
    from understudy.methods.registry import find as find
    from understudy.methods.registry import fitting as fitting
    from understudy.methods.registry import proposed as proposed
else:  # so that ``understudy methods`` lists them without importing PyTorch
    from understudy.lazy import lazily

    _PLACES = {
        "METHODS": "understudy.methods.registry:METHODS",
        "Method": "understudy.methods.method:Method",
        "find": "understudy.methods.registry:find",
        "fitting": "understudy.methods.registry:fitting",
        "one_stage": "understudy.methods.method:one_stage",
        "proposed": "understudy.methods.registry:proposed",
    }
    __all__ = list(_PLACES)
    __getattr__ = lazily(__name__, _PLACES)
