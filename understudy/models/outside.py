"""Networks that are not ours: timm's, torchvision's, transformers', and the user's own code.

A recipe is data that one may have been handed: it must not run code. So a module is imported only if the user named
it beside the recipe, and the libraries' settings that fetch or read files are not taken.
"""

import importlib
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from understudy.errors import OptionalPackageError, UserError, did_you_mean

NAMES = [
    ("timm:NAME", "a network of timm, with fresh weights"),
    ("torchvision:NAME", "a classifier of torchvision, with fresh weights"),
    ("transformers:TYPE", "an image classifier of Hugging Face's transformers, with fresh weights"),
    ("MODULE:FACTORY", "your own: the function or class FACTORY of MODULE, called with the settings given"),
]

# Settings that begin so make the libraries fetch or read files.
_FETCHING = ("pretrained", "weights", "checkpoint", "cache_dir", "use_pretrained")


def build(
    name: str, data: Mapping[str, int | None], settings: Mapping[str, Any], trusted: Collection[str]
) -> nn.Module:
    """The network of ``where:what``; see ``NAMES``."""
    where, _, what = name.partition(":")
    if where in LIBRARIES:
        return LIBRARIES[where](what, data, _fresh(name, settings))
    return _own(name.removeprefix("python:"), settings, trusted)


def is_library(name: str) -> bool:
    return name.partition(":")[0] in LIBRARIES


def _fresh(name: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in settings:
        if key.startswith(_FETCHING):
            raise UserError(f"network {name!r}: {key!r} is not taken; weights are read from a file that you name")
    return settings


def _timm(name: str, data: Mapping[str, int | None], settings: Mapping[str, Any]) -> nn.Module:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise OptionalPackageError("timm", "timm", f"network 'timm:{name}'") from error
    # Asked of timm's list, because its create_model() follows names such as "hf-hub:..." to the network.
    if not timm.is_model(name):
        raise UserError(f"timm has no network {name!r}{did_you_mean(name, timm.list_models())}")
    wanted = {"num_classes": data["classes"], "in_chans": data["channels"]}
    given = {key: value for key, value in wanted.items() if value is not None}
    return _made(f"timm:{name}", timm.create_model, name, pretrained=False, **given, **settings)


def _torchvision(name: str, data: Mapping[str, int | None], settings: Mapping[str, Any]) -> nn.Module:
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise OptionalPackageError("torchvision", "torchvision", f"network 'torchvision:{name}'") from error
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"torchvision has no classifier {name!r}{did_you_mean(name, known)}")
    if data["channels"] not in (None, 3):
        raise UserError(f"torchvision's networks take 3 channels, not {data['channels']}: convert the images to RGB")
    given = {} if data["classes"] is None else {"num_classes": data["classes"]}
    return _made(f"torchvision:{name}", models.get_model, name, weights=None, **given, **settings)


def _transformers(name: str, data: Mapping[str, int | None], settings: Mapping[str, Any]) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES
    except ModuleNotFoundError as error:
        raise OptionalPackageError("transformers", "transformers", f"network 'transformers:{name}'") from error
    types = [kind for kind in TYPES if kind != "timm_wrapper"]  # that one follows names such as "hf-hub:..."
    if name not in types:
        raise UserError(f"transformers has no image classifier of the type {name!r}{did_you_mean(name, types)}")
    called = f"transformers:{name}"
    known = AutoConfig.for_model(name).to_dict()
    for key in settings:
        if key not in known:  # it would be kept and not used
            raise UserError(f"network {called!r} has no setting {key!r}{did_you_mean(key, known)}")
    wanted = {"num_channels": data["channels"], "image_size": data["size"]}
    given = {key: value for key, value in wanted.items() if value is not None and key in known}
    if data["classes"] is not None:
        given["num_labels"] = data["classes"]

    def make() -> nn.Module:
        network: nn.Module = AutoModelForImageClassification.from_config(
            AutoConfig.for_model(name, **{**given, **settings})
        )
        return network

    return _made(called, make)


# All that a name may begin with, and who makes its networks. The next library is a function and a word here.
LIBRARIES: Mapping[str, Callable[[str, Mapping[str, int | None], Mapping[str, Any]], nn.Module]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


def _own(name: str, settings: Mapping[str, Any], trusted: Collection[str]) -> nn.Module:
    module_name, _, factory_name = name.partition(":")
    if not module_name or not factory_name.isidentifier() or factory_name.startswith("_"):
        raise UserError(f"network {name!r}: write MODULE:FACTORY, as in 'mynets.small:make_student'")
    _ask_for_trust(module_name, trusted, f"network {name!r} is code of the module {module_name!r}")
    with current_directory_importable():
        module = _imported(module_name, name)
        factory = getattr(module, factory_name, None)
        if not callable(factory):
            own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise UserError(f"module {module_name!r} has no factory {factory_name!r}{did_you_mean(factory_name, own)}")
        # Or else a recipe could call whatever the trusted module imports from elsewhere, os.system included.
        if isinstance(factory, (types.FunctionType, types.BuiltinFunctionType, type)):
            home = factory.__module__
            _ask_for_trust(home, trusted, f"network {name!r} comes from the module {home!r}")
        return _made(name, factory, **settings)


def _ask_for_trust(module: str, trusted: Collection[str], fact: str) -> None:
    if not any(module == name or module.startswith(f"{name}.") for name in trusted):
        raise UserError(
            f"{fact}, and a recipe runs no code that you have not named; if you trust it, add: --trust {module}"
        )


@contextmanager
def current_directory_importable() -> Iterator[None]:
    """As for ``python -m``; an installed command has only its own folder there."""
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _imported(module: str, name: str) -> types.ModuleType:
    importlib.invalidate_caches()  # the user may have written the file a moment ago
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UserError(
                f"network {name!r}: no module {module!r}, neither installed nor in {os.getcwd()}"
            ) from error
        raise _failed(name, error) from error
    except Exception as error:
        raise _failed(name, error) from error


def _made(name: str, factory: Callable[..., Any], *args: Any, **settings: Any) -> nn.Module:
    try:
        network = factory(*args, **settings)
    except UserError:
        raise
    except Exception as error:
        raise _failed(name, error) from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise UserError(f"network {name!r}: the factory answers with {kind}, not with a torch.nn.Module")
    return network


def _failed(name: str, error: Exception) -> UserError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return UserError(f"network {name!r}: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})")
