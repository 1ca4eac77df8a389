"""What a study is: the typed YAML config of `simedit-eval run`.

Relative paths in a config resolve against the working directory, as paths on a command line do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from simedit.config import Config
from simedit.envs.domains import VARIANTS, scene
from simedit.envs.poses import POSES
from simedit.errors import unknown
from simedit.names import Name
from simedit.policies.kinds import AnyPolicy

Domain = Literal["raw", "vismatch", "varagg", "edited", "proxy_real"]


class EnvConfig(Config):
    """Settings of the environment; those not listed are as in `simedit.envs.drawer.DrawerEnv`.

    Attributes:
        simulator: "twin", or "original": SimplerEnv itself, which knows no `skin` but its own.
        photographs: what Visual Matching lays behind robot and cabinet: "simpler", the photographs among its
            assets, or "proxy_real", one of the lab's kitchens for each episode, which needs no files.
        asset_root: None means $SIMEDIT_ASSETS or what was fetched; to the original, its own files.
    """

    simulator: Literal["twin", "original"] = "twin"
    skin: Literal["primitive", "simpler"] = "primitive"
    photographs: Literal["simpler", "proxy_real"] = "simpler"
    asset_root: str | None = None
    shader: str = "default"
    width: int = Field(default=640, gt=0)
    height: int = Field(default=512, gt=0)
    samples_per_pixel: int = Field(default=32, gt=0)
    denoiser: Literal["auto", "none", "oidn", "optix"] = "auto"

    @property
    def primitive(self) -> bool:
        """Whether scenes are made of what ships with the package, and of no asset files."""
        return self.simulator == "twin" and self.skin == "primitive"


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("the same entry stands in it twice")
    return values


Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
UnitShare = Annotated[float, Field(ge=0, le=1)]


class EditorConfig(Config):
    """What repaints the frames of the domain "edited".

    Attributes:
        library: folder of a specialist library, "lab" (the one that ships with the package), or "tiny", a
            small untrained one made on the spot.
        base: folder or hub id of the base; None takes the one that the specialists name.
        steps: denoising steps; None takes the number that the specialists name.
        guidance_interval: start and end, in shares of the denoising steps, of those that are guided.
        composition: "mask" keeps every pixel outside the cabinet, "none" shows the whole edit.
        over: the domain whose frames are edited.
        seeds: of the trials in this domain; None takes the study's.
        compile: make edits faster, after seconds (OpenVINO, on the CPU) or minutes (torch.compile, on a GPU)
            for the first; None does so on the CPU where OpenVINO is installed. Edits differ in the last bits.
    """

    library: str = "tiny"
    base: str | None = None
    steps: int | None = Field(default=None, gt=0)
    guidance_interval: tuple[UnitShare, UnitShare] = (0.0, 1.0)
    composition: Literal["mask", "none"] = "mask"
    over: Literal["raw", "vismatch"] = "raw"
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)] | None = None
    compile: bool | None = None


class RealConfig(Config):
    """Where the real success rates come from.

    Attributes:
        source: "published"; "lab", what the lab's policies reach in proxy_real; the path of a file laid
            out as `simedit.eval.rates_file` says (CSV, YAML or JSON); or "none", for a study that only
            measures rates.
        names: from this study's policy names to those of the source; a policy not in it keeps its name.
    """

    source: str = "published"
    names: dict[str, str] = {}


class DeadlineConfig(Config):
    """Seconds after which an environment that gives no answer is killed; its trial is tried again later.

    Policies have none: they act in simedit's own process, as does the editor on a GPU.

    Attributes:
        start: for it to be built, and for its first answers and those after a change of style: shaders are
            compiled then, networks converted.
        call: for every other reset, step and look at its state, edits on the CPU included.
    """

    start: float = Field(default=900.0, gt=0, allow_inf_nan=False)
    call: float = Field(default=600.0, gt=0, allow_inf_nan=False)


class ReportConfig(Config):
    """How many trials a run records for its report, as a video and as a strip of frames."""

    videos: int = Field(default=2, ge=0)
    strips: int = Field(default=4, ge=0)


class StudyConfig(Config):
    """A whole study: policies x tasks x drawers x poses x domains, their variants (and styles), x seeds.

    Attributes:
        variants: of each domain, where not all that are published; see `simedit.envs.domains.VARIANTS`.
        count_policy_errors_as: how a trial counts in which the policy itself raised or gave no action. As an
            "error" it counts for no policy, since all are compared on the same trials.
    """

    policies: dict[Name, AnyPolicy] = Field(min_length=1)
    domains: list[Domain] = Field(min_length=1)
    variants: dict[Domain, list[str]] = {}
    styles: list[Name] = []
    tasks: list[Literal["open", "close"]] = Field(default=["open", "close"], min_length=1)
    drawers: list[Literal["top", "middle", "bottom"]] = Field(
        default=["top", "middle", "bottom"], min_length=1
    )
    poses: list[str] = Field(default=list(POSES), min_length=1)
    seeds: list[Seed] = Field(default=[0], min_length=1)
    max_steps: int = Field(default=113, gt=0)
    count_policy_errors_as: Literal["error", "failure"] = "error"
    env: EnvConfig = EnvConfig()
    editor: EditorConfig = EditorConfig()
    real: RealConfig = RealConfig()
    report: ReportConfig = ReportConfig()
    deadlines: DeadlineConfig = DeadlineConfig()

    @field_validator("domains", "styles", "tasks", "drawers", "poses", "seeds")
    @classmethod
    def _refuse_duplicates(cls, values: list[Any]) -> list[Any]:
        return _distinct(values)

    @field_validator("poses")
    @classmethod
    def _known_poses(cls, poses: list[str]) -> list[str]:
        for pose in poses:
            if pose not in POSES:
                raise ValueError(str(unknown("pose", pose, POSES)))
        return poses

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, variants: dict[Domain, list[str]]) -> dict[Domain, list[str]]:
        for domain, names in variants.items():
            if not names:
                raise ValueError(f"{domain} needs one variant or more")
            for name in _distinct(names):
                if name not in VARIANTS[domain]:
                    raise ValueError(str(unknown(f"variant of {domain}", name, VARIANTS[domain])))
        return variants

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if "edited" in self.domains and not self.styles:
            raise ValueError("the domain edited needs styles, for example styles: [gold, wood]")
        if "proxy_real" in self.domains and not self.env.primitive:
            raise ValueError("the domain proxy_real needs env.simulator: twin and env.skin: primitive")
        if self.env.photographs == "proxy_real" and not self.env.primitive:
            raise ValueError("photographs: proxy_real needs env.simulator: twin and env.skin: primitive")
        if self.env.primitive:
            for domain in self.domains:
                for variant in self.variants_of(domain):
                    if scene(domain, variant, over=self.editor.over).robot_variant:
                        raise ValueError(f"the domain {domain} needs env.skin: simpler, for {variant}")
        for name in self.real.names:
            if name not in self.policies:
                raise ValueError(f"real.names: {unknown('policy', name, self.policies)}")
        return self

    @property
    def needs_assets(self) -> bool:
        """Whether scenes are made of SIMPLER's asset files, in an asset root."""
        if self.env.simulator == "original":  # it is installed with files of its own
            return self.env.asset_root is not None
        over_photographs = "vismatch" in self.domains or (
            "edited" in self.domains and self.editor.over == "vismatch"
        )
        return self.env.skin == "simpler" or (self.env.photographs == "simpler" and over_photographs)

    def variants_of(self, domain: Domain) -> list[str]:
        """The variants of a domain that the study wants."""
        return self.variants.get(domain, list(VARIANTS[domain]))


def meaning(config: StudyConfig, specialists: Mapping[str, str]) -> dict[str, Any]:
    """What a trial's result depends on beside the trial itself, as flat keys.

    Two configs whose common keys agree may share a run folder. Where the assets lie is left out, and how long
    anything is waited for. The policies' files are read here; `simedit.eval.fingerprints` adds the others.

    Args:
        specialists: from style to a digest of its specialist's files.

    Raises:
        SimeditError: a file cannot be read.
    """
    parts: dict[str, Any] = {"max_steps": config.max_steps}
    env = config.env.model_dump(mode="json", exclude={"asset_root"})
    parts |= {f"env.{key}": value for key, value in env.items()}
    for name, policy in config.policies.items():
        parts[f"policies.{name}"] = policy.model_dump_json(exclude=set(policy.incidental))
        parts |= {f"{key}.{name}": value for key, value in policy.meaning().items()}
    if "edited" in config.domains:
        editor = config.editor.model_dump(mode="json", exclude={"library", "seeds", "compile"})
        parts |= {f"editor.{key}": value for key, value in editor.items()}
        parts |= {f"specialists.{style}": specialists[style] for style in config.styles}
    return parts
