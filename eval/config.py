"""What a study is: the typed YAML config of `simedit-eval run`.

Relative paths in a config resolve against the working directory, as paths on a command line do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from simedit.config import Config
from simedit.envs.earlier import MOVED
from simedit.envs.suite import Places, SuiteKind, any_suite, check_suite, default_suite
from simedit.errors import unknown
from simedit.eval.editors import AnyEditor, Seed, distinct
from simedit.eval.editors.specialists import Specialists
from simedit.names import Name
from simedit.policies.kinds import AnyPolicy

EDITED = "edited"
"""The domain of repainted frames, in every suite."""
Names = Annotated[list[str], Field(min_length=1), AfterValidator(distinct)]


class RealConfig(Config):
    """Where the real success rates come from.

    Attributes:
        source: a name of the suite's own, such as "published" and "lab", what the lab's policies reach in
            proxy_real; the path of a file laid out as `simedit.eval.rates_file` says (CSV, YAML or JSON); or
            "none", for a study that only measures rates.
        names: from this study's policy names to those of the source; a policy not in it keeps its name.
    """

    source: str = "published"
    names: dict[str, str] = {}


Timeout = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimeoutConfig(Config):
    """Seconds for parts of a trial. Whoever takes longer is killed, and its trial is tried again later.

    Attributes:
        first_frame: for loading and building, and for the first time of each part below in an environment, a
            policy or a style: shaders are compiled then, networks converted.
        reset, step: for the environment's.
        edit: for one of the editor's calls, which may compile anew for a window of a new size.
        act: for a policy's action. What a policy's server may take, `timeouts` of that policy say.
    """

    first_frame: Timeout = 900.0
    reset: Timeout = 300.0
    step: Timeout = 300.0
    edit: Timeout = 600.0
    act: Timeout = 900.0


class Resources(Config):
    """What one actor takes of a machine, as Ray counts it.

    Attributes:
        cpu: cores.
        gpu: GPUs, or a share of one.
    """

    cpu: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    gpu: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class ResourcesConfig(Config):
    """What `simedit-eval run --ray` takes of a cluster.

    Attributes:
        rollout: of each environment with its policies. One with no share of a GPU still renders on one, where
            its machine has any.
        editor: of each editor that rollouts share; by default a GPU, where the cluster has any. Where it has
            none, each rollout has an editor of its own.
        editors: how many share the work; by default as many as there are GPUs for, or one without GPU.
    """

    rollout: Resources = Resources()
    editor: Resources | None = None
    editors: int | None = Field(default=None, gt=0)

    @field_validator("rollout")
    @classmethod
    def _takes_something(cls, rollout: Resources) -> Resources:
        if not rollout.cpu and not rollout.gpu:
            raise ValueError("takes no cpu and no gpu, so there would be room for any number")
        return rollout


class ReportConfig(Config):
    """How many trials a run records for its report, as a video and as a strip of frames."""

    videos: int = Field(default=2, ge=0)
    strips: int = Field(default=4, ge=0)


def _suite(value: Any) -> Any:
    """A suite as a config may name it: by its kind alone, or as "package.module:callable"."""
    if isinstance(value, str):
        return {"kind": "python", "factory": value} if ":" in value else {"kind": value}
    return value


AnySuite = Annotated[SuiteKind if TYPE_CHECKING else any_suite(), BeforeValidator(_suite)]


class StudyConfig(Config):
    """A whole study: policies x tasks x scenes x domains, their variants (and styles), x seeds.

    What is left out is what the suite has, all of it; `resolved` fills it in.

    Attributes:
        suite: what is played: a kind with its settings, or "package.module:callable".
        domains: of the suite, and "edited".
        variants: of each domain, where not all.
        realities: domains that stand for the real world, so that they predict nothing; the suite's too.
        scenes: of each of the suite's axes, where not all, for example `{pose: [b1]}`.
        max_steps: of an episode.
        editor: what repaints the frames of the domain "edited": a kind with its settings, by default
            specialists.
        count_policy_errors_as: how a trial counts in which the policy itself raised or gave no action. As an
            "error" it counts for no policy, since all are compared on the same trials.
    """

    policies: dict[Name, AnyPolicy] = Field(min_length=1)
    suite: AnySuite = Field(default_factory=default_suite)
    domains: list[str] = Field(min_length=1)
    variants: dict[str, Names] = {}
    styles: list[Name] = []
    realities: list[str] = []
    tasks: Names = []
    scenes: dict[str, Names] = {}
    seeds: list[Seed] = Field(default=[0], min_length=1)
    max_steps: int = Field(default=0, gt=0)
    count_policy_errors_as: Literal["error", "failure"] = "error"
    editor: AnyEditor = Specialists()
    real: RealConfig = RealConfig()
    report: ReportConfig = ReportConfig()
    timeouts: TimeoutConfig = TimeoutConfig()
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, data: Any) -> Any:
        for key, place in MOVED.items():
            if isinstance(data, dict) and key in data:
                raise ValueError(f"the key {key} is called {place} now")
        return data

    @field_validator("domains", "styles", "seeds")
    @classmethod
    def _refuse_duplicates(cls, values: list[Any]) -> list[Any]:
        return distinct(values)

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if EDITED in self.domains and not self.styles:
            raise ValueError("the domain edited needs styles, for example styles: [gold, wood]")
        for name in self.real.names:
            if name not in self.policies:
                raise ValueError(f"real.names: {unknown('policy', name, self.policies)}")
        return self

    def behind(self, domain: str, variant: str) -> tuple[str, str]:
        """The suite's domain and variant in which trials of a domain and variant are played."""
        if domain != EDITED:
            return domain, variant
        return self.editor.over, self.suite.suite().domains[self.editor.over][0]

    def places(self) -> Places:
        """The suite's domains that are played, with their variants, those that edits lie over among them."""
        found: dict[str, dict[str, None]] = {}
        for domain in self.domains:
            for variant in self.variants[domain]:
                place, kind = self.behind(domain, variant)
                found.setdefault(place, {})[kind] = None
        return {domain: tuple(variants) for domain, variants in found.items()}


def resolved(config: StudyConfig) -> StudyConfig:
    """The study with everything filled in that it leaves to its suite.

    Raises:
        SimeditError: a task, domain, variant, axis or value of one that the suite does not have; or no suite.
    """
    suite = config.suite.suite()
    check_suite(suite, f"the suite {getattr(config.suite, 'factory', config.suite.kind)}")
    realities = list(dict.fromkeys([*config.suite.realities, *config.realities]))
    domains = {**suite.domains, EDITED: ("",)}
    over = config.editor.over or next(iter(suite.domains))
    _check("task", config.tasks, suite.tasks)
    _check("domain", config.domains, domains)
    _check("domain", config.variants, domains)
    _check("domain", [over], suite.domains)
    _check("domain", realities, suite.domains)
    _check("axis of scenes", config.scenes, suite.scenes)
    for domain, variants in config.variants.items():
        _check(f"variant of {domain}", variants, domains[domain])
    for axis, values in config.scenes.items():
        _check(axis, values, suite.scenes[axis])
    return config.model_copy(
        update={
            "variants": {
                domain: list(config.variants[domain] if domain in config.variants else domains[domain])
                for domain in config.domains
            },
            "realities": realities,
            "tasks": list(config.tasks or suite.tasks),
            "scenes": {axis: list(config.scenes.get(axis, values)) for axis, values in suite.scenes.items()},
            "max_steps": config.max_steps or suite.max_steps,
            "editor": config.editor.model_copy(update={"over": over}),
        }
    )


def _check(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(kind, name, known)


def meaning(config: StudyConfig, edits: Mapping[str, str]) -> dict[str, Any]:
    """What a trial's result depends on beside the trial itself, as flat keys.

    Two configs whose common keys agree may share a run folder. How long anything is waited for is left out.
    The files of suite and policies are read here.

    Args:
        edits: fingerprints of the files that edits depend on; {} without the domain "edited".

    Raises:
        SimeditError: a file cannot be read.
    """
    parts: dict[str, Any] = {"max_steps": config.max_steps}
    parts |= {f"suite.{key}": value for key, value in config.suite.meaning(config.places()).items()}
    for name, policy in config.policies.items():
        parts[f"policies.{name}"] = policy.model_dump_json(exclude=set(policy.incidental))
        parts |= {f"{key}.{name}": value for key, value in policy.meaning().items()}
    if EDITED in config.domains:
        editor = config.editor.model_dump(mode="json", exclude=set(config.editor.incidental))
        if not editor["region"]:
            del editor["region"]  # which runs of before there were regions do not have
        parts |= {f"editor.{key}": value for key, value in editor.items()}
    return {**parts, **edits}
