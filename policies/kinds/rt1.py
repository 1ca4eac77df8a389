"""`kind: rt1`: an RT-1 or RT-1-X checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from simedit import extras
from simedit.digests import digest
from simedit.errors import SimeditError
from simedit.policies.kinds import PolicyKind
from simedit.protocols import Policy

_FETCH = "`simedit-eval checkpoints fetch all` gets the public ones"


class RT1(PolicyKind):
    """An RT-1 checkpoint; see `simedit.policies.rt1.RT1Policy`.

    Attributes:
        checkpoint: folder of its SavedModel.
        embeddings: the sentence encoder's folder, or a table of the instructions' embeddings.
        gpu: let TensorFlow use the GPU; the same for all policies of a study.
    """

    kind: Literal["rt1"]
    weights: ClassVar[tuple[str, ...]] = ("checkpoint", "embeddings")
    checkpoint: str
    embeddings: str | None = None
    gpu: bool = False

    def problems(self) -> list[str]:
        found = []
        if not extras.has("tensorflow"):
            found.append(f"RT-1 needs TensorFlow: {extras.install('tensorflow')}")
        found += _incomplete(self.checkpoint)
        if self.embeddings is None:
            found.append(f"it needs embeddings, its sentence encoder: {_FETCH}")
        elif not self.embeddings.endswith((".json", ".npz")):
            found += _incomplete(self.embeddings)
        elif not Path(self.embeddings).is_file():
            table = Path(self.embeddings).absolute()
            found.append(f"no table of embeddings at {table}: `simedit-eval checkpoints embed` makes one")
        return found

    def meaning(self) -> dict[str, Any]:
        return {"checkpoints": _digest(self.checkpoint), "embeddings": _digest(self.embeddings)}

    def load(self, state: Callable[[], Any]) -> Policy:
        from simedit.policies.rt1 import RT1Policy

        return RT1Policy(self.checkpoint, embeddings=self.embeddings, gpu=self.gpu)


def _incomplete(folder: str) -> list[str]:
    from simedit.policies.checkpoints import check_saved_model

    try:
        check_saved_model(Path(folder).absolute(), _FETCH)
    except SimeditError as error:
        return [str(error)]
    return []


def _digest(path: str | None) -> str | None:
    return digest(Path(path)) if path is not None and Path(path).exists() else None
