"""What a study is: the typed YAML config of `simedit-eval run`.

Relative paths in a config resolve against the working directory, as paths on a command line do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from simedit.config import Config
from simedit.envs.poses import POSES
from simedit.errors import unknown


class ScriptedConfig(Config):
    """The scripted expert, which acts from privileged state.

    Attributes:
        noise: of each action; see `simedit.policies.scripted.ScriptedExpert`.
        delay: control steps by which what it sees lags.
    """

    kind: Literal["scripted"]
    noise: float = Field(default=0.0, ge=0)
    delay: int = Field(default=0, ge=0)


class RT1Config(Config):
    """An RT-1 checkpoint; see `simedit.policies.rt1.RT1Policy`.

    Attributes:
        checkpoint: folder of its SavedModel.
        embeddings: the sentence encoder's folder, or a table of the instructions' embeddings.
    """

    kind: Literal["rt1"]
    checkpoint: str
    embeddings: str | None = None


PolicyConfig = Annotated[ScriptedConfig | RT1Config, Field(discriminator="kind")]


class EnvConfig(Config):
    """Settings of `simedit/Drawer-v1`. `asset_root` None means $SIMEDIT_ASSETS or what was fetched."""

    skin: Literal["primitive", "simpler"] = "primitive"
    asset_root: str | None = None
    shader: str = "default"
    width: int = Field(default=640, gt=0)
    height: int = Field(default=512, gt=0)


class EditorConfig(Config):
    """What repaints the frames of the domain "edited".

    Attributes:
        library: folder of a specialist library, or "tiny": a small untrained one made on the spot.
        base: folder or hub id of the base; None takes the one that the specialists name.
        steps: denoising steps; None takes the number that the specialists name.
        composition: "mask" keeps every pixel outside the cabinet, "none" shows the whole edit.
        over: the domain whose frames are edited.
    """

    library: str = "tiny"
    base: str | None = None
    steps: int | None = Field(default=None, gt=0)
    composition: Literal["mask", "none"] = "mask"
    over: Literal["raw", "vismatch"] = "raw"


class RealConfig(Config):
    """Where the real success rates come from.

    Attributes:
        source: "published", or the path of a YAML file laid out as `simedit.eval.published.Rates`.
        names: from this study's policy names to those of the source; a policy not in it keeps its name.
    """

    source: str = "published"
    names: dict[str, str] = {}


class ReportConfig(Config):
    """How many trials the report shows as a video and as a strip of frames."""

    videos: int = Field(default=2, ge=0)
    strips: int = Field(default=4, ge=0)


class StudyConfig(Config):
    """A whole study: policies x tasks x drawers x poses x domains (x styles where edited) x seeds."""

    policies: dict[str, PolicyConfig] = Field(min_length=1)
    domains: list[Literal["raw", "vismatch", "edited"]] = Field(min_length=1)
    styles: list[str] = []
    tasks: list[Literal["open", "close"]] = Field(default=["open", "close"], min_length=1)
    drawers: list[Literal["top", "middle", "bottom"]] = Field(
        default=["top", "middle", "bottom"], min_length=1
    )
    poses: list[str] = Field(default=list(POSES), min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    max_steps: int = Field(default=113, gt=0)
    env: EnvConfig = EnvConfig()
    editor: EditorConfig = EditorConfig()
    real: RealConfig = RealConfig()
    report: ReportConfig = ReportConfig()

    @field_validator("domains", mode="before")
    @classmethod
    def _refuse_varagg(cls, domains: Any) -> Any:
        if isinstance(domains, list) and "varagg" in domains:
            raise ValueError(
                "the domain varagg cannot be simulated yet; `simedit-eval published` has its published rates"
            )
        return domains

    @field_validator("domains", "styles", "tasks", "drawers", "poses", "seeds")
    @classmethod
    def _refuse_duplicates(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("the same entry stands in it twice")
        return values

    @field_validator("poses")
    @classmethod
    def _known_poses(cls, poses: list[str]) -> list[str]:
        for pose in poses:
            if pose not in POSES:
                raise ValueError(str(unknown("pose", pose, POSES)))
        return poses

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if "edited" in self.domains and not self.styles:
            raise ValueError("the domain edited needs styles, for example styles: [gold, wood]")
        for name in self.real.names:
            if name not in self.policies:
                raise ValueError(f"real.names: {unknown('policy', name, self.policies)}")
        return self


def meaning(config: StudyConfig, specialists: dict[str, str]) -> dict[str, Any]:
    """What a trial's result depends on beside the trial itself, as flat keys.

    Two configs whose common keys agree may share a run folder. Where the assets lie is left out.

    Args:
        specialists: from style to a digest of its specialist's files.
    """
    parts: dict[str, Any] = {
        "max_steps": config.max_steps,
        "env": config.env.model_dump(exclude={"asset_root"}),
        "policies": {name: policy.model_dump_json() for name, policy in config.policies.items()},
    }
    if "edited" in config.domains:
        parts["editor"] = config.editor.model_dump(exclude={"library"})
        parts["specialists"] = {style: specialists[style] for style in config.styles}
    return {
        f"{part}.{key}" if isinstance(value, dict) else part: inner
        for part, value in parts.items()
        for key, inner in (value.items() if isinstance(value, dict) else [("", value)])
    }
