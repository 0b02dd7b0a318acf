"""The folder of a shipped student, and its upload to the Hugging Face Hub, only at the user's request."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from understudy.errors import OptionalPackageError, UserError
from understudy.export import FORMATS
from understudy.shipping import native

WRITTEN = tuple(f"student{format_.suffix}" for format_ in FORMATS.values())  # beside card, weights and description


def assemble(folder: Path, into: Path, files: Sequence[str]) -> None:
    """Copies the files of a shipped student, and adds those by which its own library opens it, if it has one."""
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise UserError(f"{into} is not empty: choose another folder")
    native.save(folder, into)
    for name in files:
        shutil.copyfile(folder / name, into / name)


def push(folder: Path, repository: str, files: Sequence[str]) -> str:
    """Upload a student with these files to ``USER/NAME``, which is made if it is not there; its address."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise UserError(f"--push {repository!r}: write USER/NAME, as in --push anna/small-clothes")
    try:
        from huggingface_hub import HfApi, errors
    except ModuleNotFoundError as error:
        raise OptionalPackageError("huggingface_hub", "hub", "pushing to the Hugging Face Hub") from error
    api = HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        with TemporaryDirectory() as assembled:
            assemble(folder, Path(assembled), files)
            api.upload_folder(
                repo_id=repository,
                folder_path=assembled,
                delete_patterns=[*WRITTEN, *native.WRITTEN],  # those of another student, pushed before
                commit_message="A student, its card and its exported files",
            )
    except errors.LocalTokenNotFoundError as error:
        raise _no_token(repository) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == 401:
            raise _no_token(repository) from error
        raise UserError(f"the Hub refused {repository}: {str(error).strip().splitlines()[0]}") from error
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:  # type: ignore[attr-defined]
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"cannot push to {repository}: {reason}; everything is still in {folder}") from error
    return str(address)


def _no_token(repository: str) -> UserError:
    return UserError(f"cannot push to {repository}: the Hub needs a token: hf auth login, or set HF_TOKEN")
