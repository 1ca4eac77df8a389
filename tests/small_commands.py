"""A command of simedit as users give it, made small: `small_commands.py simedit-eval run --config demo ...`.

Settings that make it take seconds come before the user's own, which win.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

MODULES = {
    "simedit-edit": "simedit.cli",
    "simedit-train": "simedit.training.cli",
    "simedit-eval": "simedit.eval.cli",
    "simedit-lab": "simedit.lab.cli",
    "simedit-policy": "simedit.policies.cli",
    "simedit-score": "simedit.eval.scoring.cli",
}
STUDY = (
    *(
        "max_steps=1",
        "domains=[raw]",
        "styles=[wood]",
        "scenes.pose=[b1]",
        "scenes.drawer=[top]",
        "tasks=[close]",
    ),
    *("editor.steps=1", "editor.compile=false"),
)
TRAINING = ("width=80", "height=64", "warm_start.steps=1", "warm_start.batch_size=1", "inputs.frames=2")
SMALLER = {
    ("simedit-eval", "run"): STUDY,
    ("simedit-lab", "train-style"): TRAINING,
    ("simedit-lab", "ablate"): ("seeds=1", "frames=2"),
    ("simedit-train", "distill"): (*TRAINING, "warm_start.edits=2"),
}


def smaller(command: str, args: list[str]) -> list[str]:
    """The arguments with settings that make the command small."""
    settings = SMALLER.get((command, args[0])) if args else None
    if settings is None or _of_another_suite(args):
        return args
    if "--set" not in args:
        return [*args, "--set", *settings]
    at = args.index("--set") + 1
    return [*args[:at], *settings, *args[at:]]


def _of_another_suite(args: list[str]) -> bool:
    """Whether it is a study of small things already, that knows no drawers."""
    config = Path(args[args.index("--config") + 1]) if "--config" in args else Path()
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    return "kind: gym" in text or "kind: push_t" in text


if __name__ == "__main__":
    command, args = sys.argv[1], smaller(sys.argv[1], sys.argv[2:])
    if command == "simedit-lab":  # it judges fifteen frames
        import_module("simedit.lab.build").judged.__defaults__ = (1,)
    raise SystemExit(import_module(MODULES[command]).main(args))
