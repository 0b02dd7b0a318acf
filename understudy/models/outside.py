"""Networks of other sources: timm, torchvision, transformers, and the user's own code.

A recipe is data that one may have been handed: it must not run code. So a module is imported only if the user named
it beside the recipe, and the libraries' settings that fetch or read files are not taken.
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Literal, TypeAlias

from torch import nn

from understudy.errors import OptionalPackageError, UserError, did_you_mean
from understudy.printable import shown
from understudy.trusted import answered, call_factory

NAMES = [
    ("timm:NAME", "a network of timm, with fresh weights"),
    ("torchvision:NAME", "a classifier or a detector of torchvision, with fresh weights"),
    ("transformers:TYPE", "a classifier of images or texts of Hugging Face's transformers, with fresh weights"),
    ("MODULE:FACTORY", "your own: the function or class FACTORY of MODULE, called with the settings given"),
]

# Which trained weights: the library's default ones; a tag of timm, torchvision's name, a repository of transformers.
Which: TypeAlias = Literal[True] | str

# Settings with these prefixes make the libraries download or read files.
_FETCHING = ("pretrained", "weights", "checkpoint", "cache_dir", "use_pretrained")


def build(
    name: str,
    data: Mapping[str, int | None],
    settings: Mapping[str, object],
    trusted: Collection[str],
    which: Which | None = None,
) -> nn.Module:
    """The network of ``where:what``; see ``NAMES``. ``which`` are the trained weights, of a library alone."""
    where, _, what = name.partition(":")
    if where in LIBRARIES:
        return LIBRARIES[where](what, data, _fresh(name, settings), which)
    return _own(name.removeprefix("python:"), settings, trusted)


def require(library: str, what: str) -> None:
    """A ``UserError`` with the command that installs a library which is not there."""
    try:
        importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise OptionalPackageError(library, library, f"network '{library}:{what}'") from error


def is_library(name: str) -> bool:
    return name.partition(":")[0] in LIBRARIES


def _fresh(name: str, settings: Mapping[str, object]) -> Mapping[str, object]:
    for key in settings:
        if key.startswith(_FETCHING):
            raise UserError(
                f"network {name!r}: {key!r} is not taken as a setting; trained weights are asked for beside the "
                "network, by pretrained = true or weights = 'FILE'"
            )
    return settings


def _timm(name: str, data: Mapping[str, int | None], settings: Mapping[str, object], which: Which | None) -> nn.Module:
    require("timm", name)
    import timm

    # Checked in timm's list, because create_model() downloads names such as "hf-hub:...".
    if not timm.is_model(name):
        raise UserError(f"timm has no network {name!r}{did_you_mean(name, timm.list_models())}")
    wanted = {"num_classes": data["classes"], "in_chans": data["channels"]}
    config = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        wanted["img_size"] = data["size"]
    given = {key: value for key, value in wanted.items() if value is not None}
    trained = which is not None
    full = timm_name(name, which) if trained else name
    return _made(f"timm:{name}", timm.create_model, full, pretrained=trained, **{**given, **settings})


def timm_name(name: str, which: Which | None) -> str:
    """The name with the tag of the trained weights; timm's default ones are those of a name without a tag."""
    return f"{name.partition('.')[0]}.{which}" if isinstance(which, str) else name


def _torchvision(
    name: str, data: Mapping[str, int | None], settings: Mapping[str, object], which: Which | None
) -> nn.Module:
    require("torchvision", name)
    from torchvision import models

    known = models.list_models(module=models)
    detectors = models.list_models(module=models.detection) if hasattr(models, "detection") else []
    if name not in (*known, *detectors):
        raise UserError(
            f"torchvision has no classifier and no detector {name!r}{did_you_mean(name, [*known, *detectors])}"
        )
    if data["channels"] not in (None, 3):
        raise UserError(f"torchvision's networks take 3 channels, not {data['channels']}: convert the images to RGB")
    if name in detectors:
        return _detector(name, data["classes"], settings)
    wanted = {"num_classes": data["classes"]}
    if name.startswith("vit_"):
        wanted["image_size"] = data["size"]
    given = {key: value for key, value in wanted.items() if value is not None}
    weights = {"weights": None} if which is None else {"weights": torchvision_weights(which), "progress": False}
    return _made(f"torchvision:{name}", models.get_model, name, **{**weights, **given, **settings})


def _detector(name: str, classes: int | None, settings: Mapping[str, object]) -> nn.Module:
    """A detector that answers before suppression; torchvision counts the background as its first class."""
    from torchvision import models

    from understudy.models.detectors import dense

    fresh = {"weights": None, "weights_backbone": None}
    given = {} if classes is None else {"num_classes": classes + 1}
    return dense(_made(f"torchvision:{name}", models.get_model, name, **{**fresh, **given, **settings}))


def torchvision_weights(which: Which) -> str:
    """The name of the weights among those that torchvision has of a network."""
    return "DEFAULT" if which is True else which


def _transformers(
    name: str, data: Mapping[str, int | None], settings: Mapping[str, object], which: Which | None
) -> nn.Module:
    require("transformers", name)
    from transformers import AutoConfig, AutoModelForImageClassification
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as TYPES

    types = [kind for kind in TYPES if kind != "timm_wrapper"]  # this type downloads names such as "hf-hub:..."
    if name in (of_texts := _text_types(types)):
        return _text_classifier(name, data, settings, which)
    if name not in types:
        raise UserError(f"transformers has no classifier of the type {name!r}{did_you_mean(name, [*types, *of_texts])}")
    called = f"transformers:{name}"
    known = AutoConfig.for_model(name).to_dict()
    for key in settings:
        if key not in known:  # it would be stored and ignored
            raise UserError(f"network {called!r} has no setting {key!r}{did_you_mean(key, known)}")
    wanted = {"num_channels": data["channels"], "image_size": data["size"]}
    given = {key: value for key, value in wanted.items() if value is not None and key in known}
    if data["classes"] is not None:
        given["num_labels"] = data["classes"]

    def make() -> nn.Module:
        network: nn.Module
        if isinstance(which, str):
            network = AutoModelForImageClassification.from_pretrained(which, trust_remote_code=False, **settings)
        else:
            config = AutoConfig.for_model(name, **{**given, **settings})
            # of a type with several architectures, transformers asks for the first
            config.architectures = config.architectures or []
            network = AutoModelForImageClassification.from_config(config)
        return network

    return _made(called, make)


def _text_types(of_images: Collection[str]) -> list[str]:
    """The types of transformers that classify texts and no images."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as TYPES

    return [kind for kind in TYPES if kind not in of_images]


def _text_classifier(
    name: str, data: Mapping[str, int | None], settings: Mapping[str, object], which: Which | None
) -> nn.Module:
    """A classifier of texts, or with ``head = "tokens"`` of each of their tokens.

    ``channels`` is the number of different tokens and ``size`` that of positions.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    called, settings = f"transformers:{name}", dict(settings)
    head = settings.pop("head", "texts")
    if head not in ("texts", "tokens"):
        raise UserError(f"network {called!r}: head = {head!r}: it answers to 'texts' or to each of their 'tokens'")
    kind = AutoModelForTokenClassification if head == "tokens" else AutoModelForSequenceClassification
    known = AutoConfig.for_model(name).to_dict()
    for key in settings:
        if key not in known:  # it would be stored and ignored
            raise UserError(f"network {called!r} has no setting {key!r}{did_you_mean(key, known)}")
    given = {"vocab_size": data["channels"], "num_labels": data["classes"]}
    positions = known.get("max_position_embeddings")
    if isinstance(positions, int) and data["size"] is not None and data["size"] > positions:
        given["max_position_embeddings"] = data["size"]
    chosen = {key: value for key, value in given.items() if value is not None and (key in known or key == "num_labels")}

    def make() -> nn.Module:
        network: nn.Module
        if isinstance(which, str):
            network = kind.from_pretrained(which, trust_remote_code=False, **settings)
        else:
            config = AutoConfig.for_model(name, **{**chosen, **settings})
            network = kind.from_config(config)
        return network

    return _made(called, make)


# The prefixes of names, and the functions that make their networks. A further library is one entry.
Library = Callable[[str, Mapping[str, int | None], Mapping[str, object], Which | None], nn.Module]
LIBRARIES: Mapping[str, Library] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


def _own(name: str, settings: Mapping[str, object], trusted: Collection[str]) -> nn.Module:
    def made(factory: Callable[..., object]) -> object:
        with contextlib.suppress(ValueError):  # a function without a signature
            signature = inspect.signature(factory)
            try:
                signature.bind(**settings)
            except TypeError as error:
                raise UserError(
                    f"network {name!r}: {error}: it is called with the settings of its table, whose names are those of "
                    f"its arguments: {shown(list(signature.parameters))}"
                ) from error
        return factory(**settings)

    return _a_module(name, call_factory(name, trusted, "network", made))


def _made(name: str, factory: Callable[..., object], *args: object, **settings: object) -> nn.Module:
    return _a_module(name, answered(f"network {name!r}", lambda: factory(*args, **settings)))


def _a_module(name: str, network: object) -> nn.Module:
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise UserError(f"network {name!r}: the factory answers with {kind}, not with a torch.nn.Module")
    return network
