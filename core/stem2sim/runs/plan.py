"""Which steps a run has: from its config, and from what is done, because builders and simulators may yield variants."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from stem2sim.errors import BadInput, StageFailed, nearest
from stem2sim.files import fingerprint
from stem2sim.runs.names import StepName
from stem2sim.runs.step import Branch, Step, inputs_of, variants_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from stem2sim.runs.names import Kind
    from stem2sim.runs.run import Run
    from stem2sim.stages import Stage


def steps(run: Run, last: Kind = "simulate", as_recorded: bool = False) -> Iterator[Step]:
    """Yield the steps of a run in the order they run in.

    What a step leaves decides which ones follow: execute it before you ask for the next. A variant whose step is not
    done is not followed, and nothing comes after a simulation of which anything is missing.

    Args:
        run: with its config.
        last: kind of the last steps: what follows is not even looked at.
        as_recorded: take what was done up to the structures as it is, whatever the image, the config and the versions
            of plugins are now: for work that is prepared on one machine and done on another.

    Raises:
        BadInput: a file of a finished step is damaged.
    """
    return _Plan(run, as_recorded).steps(last)


def step_of(run: Run, name: str) -> Step:
    """Return the step of that name, with the inputs that the config has for it now.

    What it builds on must be done, and is taken as it is recorded.

    Raises:
        BadInput: no such step, or one that waits for another.
    """
    plan = _Plan(run, as_recorded=True)
    known, waiting = [], []
    for step in plan.steps("simulate"):
        known.append(str(step.name))
        if known[-1] == name:
            return replace(step, inputs=plan.inputs(step.name, step.stage, step.start))
        if step.files is None:
            waiting.append(known[-1])
    ahead = f"; more follow once {', '.join(waiting)} is done" if waiting else ""
    raise BadInput(f"no step '{name}' to run in {run.folder}; steps: {', '.join(known)}{nearest(name, known)}{ahead}")


class _Plan:
    """The steps of one run, worked out one after the other."""

    def __init__(self, run: Run, as_recorded: bool) -> None:
        self._run, self._as_recorded = run, as_recorded

    def steps(self, last: Kind) -> Iterator[Step]:
        config = self._run.config
        if config.segment is None:
            branches = [self._given()]
        else:
            branches, _ = yield from self._each(StepName("segment"), config.segment, [Branch("", "")])
        if last == "segment":
            return
        for number, builder in enumerate(config.build, start=1):
            branches, _ = yield from self._each(StepName("build", number, builder.name), builder, branches)
        if config.segment is not None and not config.build:
            return
        branches, _ = yield from self._each(StepName("structure"), None, branches)
        if last == "structure":
            return
        for number, simulator in enumerate(config.simulate, start=1):
            name = StepName("simulate", number, simulator.name)
            branches, complete = yield from self._each(name, simulator, branches)
            if not complete:  # what follows starts from the ends of all of them
                return

    def inputs(self, name: StepName, stage: Stage | None, start: Branch) -> str:
        """Return the hash of everything that goes into a step now."""
        run = self._run
        if stage is None:
            return fingerprint("cell", start.inputs, *run.config.allow)
        if name.kind == "segment":
            image = run.image if run.config.segment is not None and run.config.segment.needs_image else None
            return inputs_of(stage, image.fingerprint() if image else "")
        return inputs_of(stage, start.inputs)

    def _given(self) -> Branch:
        """The structure that a run starts from in place of an image; where it is kept may not be known any more."""
        file = self._run.config.structure
        assert file is not None  # read_config: a config without a segmenter starts from a structure
        known = file.is_file() or not self._as_recorded
        return Branch("", fingerprint("structure", self._run.contents.sha256(file) if known else ""), file)

    def _each(
        self, name: StepName, stage: Stage | None, branches: list[Branch]
    ) -> Generator[Step, None, tuple[list[Branch], bool]]:
        """Yield the step of one stage for each variant; return the variants that go on, and whether all do."""
        state = self._run.state
        grown = []
        complete = True
        for branch in branches:
            own = StepName(name.kind, name.number, name.stage, branch.label)
            recorded = self._as_recorded and name.kind != "simulate" and state.is_current(str(own))
            inputs = state.inputs(str(own)) if recorded else self.inputs(own, stage, branch)
            step = Step(self._run, own, branch, inputs, stage)
            yield step
            if step.files is None:
                complete = False
            elif name.kind == "segment":
                grown.append(Branch("", step.inputs, None, str(own)))
            else:
                grown += variants_of(step, *self._structures(step, step.files))
        if twice := [label for label, count in Counter(one.label for one in grown).items() if count > 1]:
            raise StageFailed(f"{name.short}: two variants would both be called '{twice[0]}'; use one builder less")
        return grown, complete

    def _structures(self, step: Step, files: list[Path]) -> tuple[list[str], list[Path]]:
        """Labels and files of the structures that a finished step left."""
        contents = self._run.contents
        if step.name.kind == "simulate":
            records = [file for file in files if file.suffix == ".json"]
            labels = [contents.result(file).label for file in records]
            return labels, [file.with_suffix(".extxyz") for file in records]
        return [contents.structure(file).label for file in files] if len(files) > 1 else [""], files
