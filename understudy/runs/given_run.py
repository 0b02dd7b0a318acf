"""A run of networks and data that were passed as objects."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.files import DIGEST, fits, read_json, sealed, sha256, write_json
from understudy.models import load_weights
from understudy.models import student as product
from understudy.plans import TrainingCache
from understudy.plans.engines import Here, MakeEngine
from understudy.plans.group import Group
from understudy.plans.training import Builders
from understudy.recipe import Recipe
from understudy.recipe.objects import OBJECT, GivenNetwork, Objects
from understudy.runs.compile import assistant_of, student_of
from understudy.runs.folder import GIVEN
from understudy.runs.records import Result
from understudy.runs.run import Run
from understudy.training import preflight
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest
from understudy.training.preflight import Finding

DIGESTS = "digests.json"  # of the given weights
STARTED = "the weights with which the networks came are not known: choose another out, or put a copy back"


class GivenRun(Run):
    """A run of networks and data that were passed as objects.

    Args:
        builders: the builders that hold the objects.
        in_place: whether the first seed's training changes the passed module itself.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        builders: Builders,
        in_place: bool,
        callback: Callback | None = None,
        stop: StopRequest | None = None,
        cache: TrainingCache | None = None,
        engine: MakeEngine = Here,
        threads: int | None = None,
        group: Group | None = None,
    ):
        super().__init__(
            recipe,
            out,
            builders=builders,
            callback=callback,
            stop=stop,
            cache=cache,
            engine=engine,
            threads=threads,
            group=group,
        )
        self.objects: Objects = self.builders.objects
        for name, training in self._trained_objects().items():
            self.objects[name].in_place = training if in_place else None
        if len(recipe.seeds) > 1 and recipe.student.network in self.trained_modules:
            self.notes.append(
                "the student was given as a module: each seed begins with the same weights, and seeds differ in the "
                "order and augmentation of samples, dropout, and what terms own; give a function or a name for fresh "
                "weights"
            )

    def check(self) -> Iterator[Finding]:
        """The pre-flight, and whether the student can be rebuilt from its files."""
        yield from super().check()
        if self.recipe.student.network in self.objects.networks:
            module = self.objects[self.recipe.student.network].module
            if module is not None and (reason := product.lost(module)):
                yield Finding("warning", "student", reason)

    def checked(self, *, check: bool) -> Result:
        """Check the folder and run the pre-flight, then execute."""
        self.folder.look(recipes.write(self.recipe))
        self.begin_with_kept()
        if check and not self.complete:
            findings = list(self.check())
            preflight.passes(findings)
            for line in _lines(findings, self.recipe):
                self.callback.note(line)
        return self.execute()

    def begin(self) -> None:
        """Save the original weights of modules, from which every seed begins and a stopped run is resumed."""
        for name, network in self.trained_modules.items():
            path = self._weights_of(name)
            if not path.exists():
                product.save_weights(path, network.template.state_dict())
        digests = {path.name: sha256(path) for path in map(self._weights_of, self.trained_modules)}
        if digests and self._given_digests() != digests:
            write_json(self.folder.path / GIVEN / DIGESTS, sealed(digests))

    def _given_digests(self) -> dict[str, object]:
        """The SHA-256 of each file of given weights; empty where there are none yet."""
        path = self.folder.path / GIVEN / DIGESTS
        content = read_json(path)
        if path.exists() and (content is None or not fits(content)):
            raise UserError(f"{path} is damaged: {STARTED}")
        return {name: digest for name, digest in (content or {}).items() if name != DIGEST}

    @property
    def measuring(self) -> float:
        """Measure latencies for less time where the trainings are short."""
        trained = sum(record.seconds or 0.0 for record in self.execution.done.values())
        return min(1.0, max(0.02, trained / 60))

    def kept(self, result: Result) -> nn.Module:
        """Load the kept student into the passed module, and assistants into theirs."""
        for name, training in self._trained_objects().items():
            module = self.objects[name].module
            if module is not None:
                kept = result.kept if name == self.recipe.student.network else training
                product.prepare(module, self.folder.training(kept))
                load_weights(module, self.folder.training(kept) / product.WEIGHTS)
                module.eval()
        given = self.objects.networks.get(self.recipe.student.network)
        module = given.module if given else None
        return module if module is not None else self.trained(result.kept).eval()

    @property
    def first_teacher(self) -> nn.Module | None:
        return next((network.given() for network in self.objects.networks.values() if network.taught), None)

    @property
    def trained_modules(self) -> dict[str, GivenNetwork]:
        """The modules that are trained in place, by their names in the plan."""
        networks = self.objects.networks.items()
        return {name: network for name, network in networks if network.module is not None and not network.taught}

    def _trained_objects(self) -> dict[str, str]:
        """The training of the first seed of every object that is trained."""
        name, seed = list(self.recipe.methods)[-1], self.recipe.seeds[0]
        listed = self.recipe.methods[name].assistants
        trained = {
            assistant.network: assistant_of(name, place, assistant.network, seed)
            for place, assistant in enumerate(listed if listed != "auto" else (), start=1)
        }
        trained[self.recipe.student.network] = student_of(name, seed)
        return {network: training for network, training in trained.items() if network in self.objects.networks}

    def begin_with_kept(self) -> None:
        """Load the weights that modules had when the run began."""
        for name, network in self.trained_modules.items():
            path = self._weights_of(name)
            if path.exists():
                if self._given_digests().get(path.name) not in (None, sha256(path)):
                    raise UserError(f"{path} is damaged: {STARTED}")
                network.begin_with(safetensors.torch.load_file(path))

    def _weights_of(self, name: str) -> Path:
        return self.folder.path / GIVEN / f"{name.removeprefix(OBJECT)}.safetensors"


def _lines(findings: Sequence[Finding], recipe: Recipe) -> Iterator[str]:
    """The findings that are reported to a caller.

    Data and teacher are the caller's own, and findings about a stage are reported by its training. Costs of stored
    answers are reported only to callers who use them.
    """
    several = len(recipe.methods) > 1
    for finding in findings:
        subject = finding.subject
        for name in recipe.methods:
            subject = subject if several else subject.removeprefix(f"{name}, ")
        stage = next((part for part in (subject, subject.partition(", ")[2]) if part.startswith("stage")), "")
        detail = "," in stage
        worth = detail and finding.level == "warning"
        worth |= detail and recipe.answers is not None and finding.subject.endswith(preflight.ABOUT_STORED)
        of_network = subject.endswith((preflight.ABOUT_INPUTS, preflight.ABOUT_ANSWERS))
        of_data = finding.subject == preflight.ABOUT_IMAGES
        of_data |= finding.subject == preflight.ABOUT_UNLABELLED and finding.level == "warning"
        if worth or of_network or of_data:
            yield f"{subject}: {finding.text}"
