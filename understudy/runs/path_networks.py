"""The networks of the sizes of a search, and the trainings between them as nodes of a plan."""

from dataclasses import replace

from understudy import methods
from understudy.errors import UserError
from understudy.models import NetworkSpec
from understudy.models.sizes import Size, Sized, between
from understudy.paths import Edge, Sizes
from understudy.plans import Node
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.recipe.objects import OBJECT
from understudy.recipe.schema import AssistantTable, Learning, MethodTable, NetworkTable
from understudy.runs.compile import TEACHER, as_the_student, bare, guides, link, plain, teacher_node, teachers_of


class PathNetworks:
    """The networks of the sizes of a recipe's ``[path]``, and the trainings between them."""

    def __init__(self, recipe: Recipe, builder: Builder, prefix: str = ""):
        assert recipe.path is not None
        assert recipe.teacher is not None
        if recipe.student.from_teacher is not None:
            raise UserError(
                "student.from_teacher is of one student and one teacher, and a search trains networks between them: "
                "leave it out"
            )
        self.recipe, self.table, self.teacher, self.prefix = recipe, recipe.path, recipe.teacher, prefix
        taught = [name for name, table in recipe.methods.items() if methods.find(table.method).reads_teacher]
        self.method = self.table.method or taught[0]
        self.learns: MethodTable = recipe.methods[self.method]
        self.seeds = recipe.seeds_of(self.method)
        self.builder, self._student = builder, builder.spec(recipe.student)
        self.family = self._family()
        between = {size: self._assistant(size) for size in self._between(builder)}
        self.sizes = Sizes.of([self._size(self.teacher), *between, self._size(recipe.student)])
        ends: dict[Size, NetworkTable] = {self.sizes.all[0]: self.teacher, self.sizes.student: recipe.student}
        self.networks = between | ends

    def nodes(self, edge: Edge) -> list[Node]:
        """The trainings of an edge, one for each seed; none where the teacher is given."""
        if edge == self.sizes.teacher:
            if self.teacher.train is None:
                return []
            seeds = self.recipe.seeds[:1] if self.teacher.one_for_all else self.seeds
            return [teacher_node(TEACHER, self.teacher, self.recipe, seed) for seed in seeds]
        return [self._node(edge, seed) for seed in self.seeds]

    def best(self, path: tuple[Size, ...]) -> MethodTable:
        """The method of all trainings of a path."""
        assistants = tuple(
            AssistantTable(**dict(bare(self.networks[size])), learns=self._learning(Edge(path[: place + 1])))
            for place, size in enumerate(path[1:-1], start=1)
        )
        return self.learns.model_copy(update={"assistants": assistants})

    def _node(self, edge: Edge, seed: int) -> Node:
        learns = self._learning(edge)
        before = [self._name(Edge(edge.path[:end]), seed) for end in range(2, len(edge.path))]
        taught_by = guides(learns, teachers_of(self.recipe, seed), before)
        return link(self._name(edge, seed), self.networks[edge.size], learns, self.recipe, seed, taught_by)

    def _learning(self, edge: Edge) -> Learning:
        student = edge.size == self.sizes.student
        if len(edge.path) > 1:
            return self.learns if student else self.table.learns or as_the_student(self.learns)
        if edge.quick:
            epochs = self.table.quick_epochs or max(1, round(self.learns.train.epochs / 3))
            return Learning(method="alone", train=replace(self.learns.train, epochs=epochs))
        config = self.recipe.train if student or not self.table.learns else self.table.learns.train
        alone = self.recipe.methods.get("alone")
        return alone if student and alone else Learning(method="alone", train=config)

    def _family(self) -> Sized | None:
        if self.table.family is not None:
            return Sized.of(self.table.family, self.table.by)
        if self.table.by is not None:
            return Sized(self.recipe.student.network, self.table.by)
        return Sized.to_which_belongs(self._student.name) if self._student else None

    def _size(self, table: NetworkTable) -> Size:
        spec = self._spec(table)
        size = self.family.size_of(spec) if self.family and spec else None
        return table.network.removeprefix(OBJECT) if size is None else size

    def _spec(self, table: NetworkTable) -> NetworkSpec | None:
        """The name by which a network is built; for an object, the name of a known network with the same layers."""
        return self._student if table is self.recipe.student else self.builder.spec(table)

    def _assistant(self, size: Size) -> NetworkTable:
        assert self.family is not None
        student = self.recipe.student
        settings = self._student.settings if self._student else {}
        others = {key: value for key, value in settings.items() if key != self.family.by}
        spec, side = self.family.network(size, others), self.builder.size(student)
        return NetworkTable(
            network=spec.name,
            settings=spec.settings,
            mean=student.mean,
            std=student.std,
            size=side,
            interpolation=None if side is None else student.interpolation,
            output=student.output,
            token_table=student.token_table,
        )

    def _between(self, builder: Builder) -> list[Size]:
        """The assistants' sizes: the named ones, or those of the papers between the two networks."""
        if self.family is None:
            named = builder.called(self.recipe.student)
            raise UserError(f"{named!r} is of no family with sizes: name the assistants, or for a search path.family")
        if self.table.sizes:
            ints = all(isinstance(size, int) for size in self.table.sizes)
            return sorted(self.table.sizes, key=lambda size: -int(size)) if ints else list(self.table.sizes)
        shape, outputs = builder.data.shape, builder.data.task.outputs
        smallest, largest = (builder.parameters(table) for table in (self.recipe.student, self.teacher))
        assert self._student is not None
        specs = between(self._student, smallest, largest, shape, outputs)
        return [size for spec in specs if (size := self.family.size_of(spec)) is not None]

    def _name(self, edge: Edge, seed: int) -> str:
        """Of a training, and of its folder."""
        kind = "quick-" if edge.quick else "alone-" if len(edge.path) == 1 else ""
        return f"{self.prefix}{kind}{'-to-'.join(plain(str(size)) for size in edge.path)}-{seed}"
