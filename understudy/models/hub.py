"""Students from the Hugging Face Hub: two files of data, and nothing that could be executed."""

import re
from pathlib import Path

from understudy.errors import OptionalPackageError, UserError

PREFIX = "hf:"
_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def fetched(name: str, files: list[str]) -> Path:
    """The folder in the Hub's cache with these files of ``hf:USER/NAME`` or ``hf:USER/NAME@REVISION``.

    No other file is downloaded. Without a connection, files that are in the cache already are used.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UserError(f"{name!r}: write hf:USER/NAME, or hf:USER/NAME@REVISION for one version of it")
    try:
        from huggingface_hub import errors, snapshot_download
    except ModuleNotFoundError as error:
        raise OptionalPackageError("huggingface_hub", "hub", f"loading {name}") from error
    try:
        folder = snapshot_download(match["repository"], revision=match["revision"], allow_patterns=files)
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} cannot be fetched from the Hub: {reason}") from error
    return Path(folder)
