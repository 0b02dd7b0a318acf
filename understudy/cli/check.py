"""``understudy check``: the pre-flight of a recipe, without training."""

import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from understudy.cli._live import Live
from understudy.cli._options import CheckOptions, RecipeArgument, RunOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json


@with_options
def check(
    recipe: RecipeArgument,
    *,
    options: CheckOptions,
) -> None:
    """Check data, teacher, taps, losses and gradients without training.

    Example: understudy check recipes/fitnets_mnist.toml --set data.root=/data
    """
    from understudy import recipe as recipes
    from understudy.cli._run import prepared
    from understudy.runs import Run
    from understudy.training import preflight

    with tempfile.TemporaryDirectory() as nowhere, Live(err) as live:
        read = recipes.read(recipe, options.changes or [], settings=options.settings)
        make = partial(Run, out=Path(nowhere), callback=live)
        findings = list(prepared(make, read, RunOptions(trust=options.trust), live, Path(nowhere)).check())
    if options.json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_findings(findings, out, verbose=options.verbose)
    preflight.passes(findings)
