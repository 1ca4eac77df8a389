"""Inputs for the specialist of a later pass: as the passes before it leave them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from simedit.drafts import whole
from simedit.errors import SimeditError, shortened, unknown
from simedit.masks import mapped, mask_of, together
from simedit.packaged import specialist_folder
from simedit.protocols import Editor
from simedit.recipe import regions_of
from simedit.training.config import TrainConfig
from simedit.training.data import Inputs
from simedit.training.sampler import Masks

FOLDER = "inputs"
"""Where a run folder keeps the edited inputs, to be looked at and so that none is edited twice."""
AT_ONCE = 8
"""Inputs edited together; always the same ones, for edits of other batches differ by rounding."""
_MADE = "simedit"


class EditedInputs:
    """Inputs edited once, by the passes that come before a specialist's own; `Inputs` for its training.

    Masks are those of the inputs as they were, of regions too. An input's noise follows from the config's
    seed and its number alone.

    Args:
        inputs: as they were.
        config: with `after`.
        load: gives the editor of `after`, whose only style it is; on demand, for it takes memory.
        folder: the run folder.
        depends: `simedit.training.depends.of_inputs`; an input edited from other things is edited anew.
    """

    def __init__(
        self,
        inputs: Inputs,
        config: TrainConfig,
        load: Callable[[], Editor],
        folder: Path,
        depends: Mapping[str, str],
    ) -> None:
        assert config.after is not None
        self._inputs, self._config, self._after, self._load = inputs, config, config.after, load
        self._folder, self._editor = folder / FOLDER, None
        made = config.model_dump(mode="json", include={"inputs", "after", "width", "height", "seed"})
        text = json.dumps([made, dict(depends)], sort_keys=True)
        self._made = hashlib.sha256(text.encode()).hexdigest()[:16]

    def check(self) -> None:
        """Check that the inputs have the masks that the passes ask for.

        Raises:
            SimeditError: they have not; names those that there are.
        """
        wanted, named = self._after.region, self._inputs.regions(0)
        if wanted is not None and wanted not in named:
            raise SimeditError(f"after.region: {unknown('region of the inputs', wanted, named)}")
        masks = self._masks(0, self._inputs[0][1])
        for region in regions_of(specialist_folder(self._after.recipe)):
            try:
                mask_of(masks, region, self._after.recipe)
            except SimeditError as error:
                raise SimeditError(f"after.recipe: {error}") from error

    @property
    def title(self) -> str:
        """What `prepare` does."""
        return f"inputs, edited by {self._after.recipe}"

    def groups(self) -> list[range]:
        """The inputs' numbers, those together that are edited at once."""
        starts = range(0, len(self), AT_ONCE)
        return [range(start, min(start + AT_ONCE, len(self))) for start in starts]

    def prepare(self, groups: Sequence[range]) -> Iterator[int]:
        """Edit what is missing in some groups; gives how many inputs of these are there, time and again.

        Raises:
            SimeditError: they cannot be edited, written or read.
        """
        missing = [group for group in groups if not all(self._there(number) for number in group)]
        done = sum(map(len, groups)) - sum(map(len, missing))
        yield done
        for group in missing:
            marked = PngInfo()
            marked.add_text(_MADE, self._made)
            for number, frame in zip(group, self._edited(group), strict=True):
                with whole(self._path(number)) as draft:
                    Image.fromarray(frame).save(draft, format="PNG", pnginfo=marked)
            yield (done := done + len(group))
        self._editor = None  # a training needs its memory

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None]:
        mask = self._inputs[index][1]
        if not self._there(index):
            raise SimeditError(f"{self._path(index)} is gone: go on once more, and it is made anew")
        with Image.open(self._path(index)) as image:
            return np.array(image.convert("RGB")), mask

    def unseen(self, index: int, /) -> tuple[np.ndarray, np.ndarray | None] | None:
        found = self._inputs.unseen(index)
        return found and (self._edited([len(self) + index])[0], found[1])

    def regions(self, number: int, /) -> Mapping[str, np.ndarray]:
        return self._inputs.regions(number)

    def found_before(self, masks: Masks) -> Masks:
        """The same masks, but of the inputs as they were: nouns are looked for there."""
        return lambda numbers, _, own: masks(
            numbers, np.stack([self._original(number)[0] for number in numbers]), own
        )

    def _original(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """An input as it was, or as number len(inputs) + i the unseen frame i."""
        if number < len(self):
            return self._inputs[number]
        found = self._inputs.unseen(number - len(self))
        assert found is not None
        return found

    def _masks(self, number: int, own: np.ndarray | None) -> Any:
        """As an editor is given them, of one input."""
        masks = dict(self._inputs.regions(number))
        if masks and self._after.region is not None:
            masks[""] = masks[self._after.region]
        return masks or own

    def _edited(self, numbers: Sequence[int]) -> np.ndarray:
        """uint8 [N, H, W, 3]."""
        if self._editor is None:
            self._editor = self._load()
        found = [self._original(number) for number in numbers]
        each = [self._masks(n, own) for n, (_, own) in zip(numbers, found, strict=True)]
        seeds = [np.random.default_rng([self._config.seed, 6, number]) for number in numbers]
        return self._editor.edit(
            np.stack([frame for frame, _ in found]),
            styles=list(self._editor.styles) * len(numbers),
            masks=together([mapped(lambda mask: mask[None], one) for one in each]),
            seeds=[int(random.integers(2**63)) for random in seeds],
        )

    def _there(self, number: int) -> bool:
        """Whether that input is there, edited from what there is now."""
        path = self._path(number)
        if not path.exists():
            return False
        try:
            with Image.open(path) as image:
                return image.info.get(_MADE) == self._made
        except (OSError, ValueError, SyntaxError) as error:
            raise SimeditError(f"cannot read {path}, remove it: {shortened(error, 200)}") from error

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.png"
