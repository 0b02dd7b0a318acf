"""``understudy check``: the pre-flight of a recipe, without training."""

import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from understudy import recipe as recipes
from understudy.cli._engines import By
from understudy.cli._live import Live
from understudy.cli._settle import made
from understudy.cli._shared import (
    JsonOption,
    RecipeArgument,
    SetOption,
    SettingsOption,
    TrustOption,
    err,
    out,
    print_findings,
    print_json,
)
from understudy.runs import Run
from understudy.training import preflight


def check(
    recipe: RecipeArgument,
    changes: SetOption = None,
    settings: SettingsOption = None,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """Look at everything that can go wrong before an epoch is spent: data, teacher, taps, losses, gradients.

    Example: understudy check recipes/fitnets_mnist.toml --set data.root=/data
    """
    with tempfile.TemporaryDirectory() as nowhere, Live(err) as live:
        read = recipes.read(recipe, changes or [], settings=settings)
        make = partial(Run, out=Path(nowhere), trusted=trust or [], watcher=live)
        findings = list(made(make, read, By(), trust, live, Path(nowhere)).check())
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings, out)
    preflight.passes(findings)
