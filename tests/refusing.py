"""A device that must not be waited for, as far as ``meta`` can stand for one."""

import contextlib

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Refusing(TorchDispatchMode):
    """Refuses what a device would have to finish its work for; ``meta`` itself has no values to be asked for."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for maker in ("tensor", "as_tensor"):
            self.patch.setattr(torch, maker, lambda *_, **__: pytest.fail("numbers of the host go to the device"))
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "check_errors" not in func.name(), f"{func.name()} looks at what came out"
        out = func(*args, **(kwargs or {}))
        found = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        # A number of the host's may take part in a command: it travels within it.
        places = {x.device.type for x in found if x.is_meta or x.ndim or "copy" in func.name()}
        assert len(places) < 2, f"{func.name()} copies between the host and the device"
        return out


def without_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none on ``meta``."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device="cpu": False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
