"""The diagrams of docs/architecture.md: a frame's, a trial's and a training pair's way through the files.

python scripts/diagrams.py            # writes docs/*.svg

Their ground is their own, so they read alike on light and dark pages; they are narrow enough for a phone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, LEFT, BOX, HEIGHT, GAP, TOP = 472, 16, 360, 54, 34, 20
INK, SOFT, LINE, FILL, GROUND = "#1f2933", "#52606d", "#7b8794", "#ffffff", "#f2f4f7"


@dataclass(frozen=True)
class Diagram:
    """Steps from top to bottom.

    Attributes:
        title: what it shows, for those who cannot see it.
        steps: what happens, in which files, and what goes on to the next step.
        loops: from which step back to which, and when.
    """

    title: str
    steps: tuple[tuple[str, str, str], ...]
    loops: tuple[tuple[int, int, str], ...] = ()


DIAGRAMS = {
    "way-of-a-frame": Diagram(
        "The way of a frame through the files",
        (
            ("The environment gives an observation", "envs/drawer/twin.py, simpler.py", "nested dict"),
            ("Its image and mask are found", "simedit/wrapper.py, repainter.py", "frame, mask, style, seed"),
            ("A window around the mask is cut", "simedit/library.py, window.py", "uint8 [h, w, 3]"),
            (
                "Frame, photograph and words encoded",
                "simedit/pipeline.py, style_attention.py",
                "12 channels",
            ),
            ("Noise is taken away, guided", "simedit/samplers.py, engine.py", "latents"),
            ("Decoded; fine detail comes back", "simedit/composition.py", "the edit"),
            ("The edit inside the mask, frame outside", "simedit/composition.py", "uint8 [H, W, 3]"),
            ("Put back where the image was", "simedit/repainter.py", ""),
        ),
        ((4, 4, "each step"),),
    ),
    "way-of-a-trial": Diagram(
        "The way of a trial through the files",
        (
            ("A study is read and checked", "eval/config.py, checks.py, fingerprints.py", "YAML"),
            ("Its trials, less those stored", "eval/trials.py, study.py", "a trial"),
            (
                "A worker, in a process or a Ray actor",
                "eval/worker.py, remote.py, on_ray.py, envs/",
                "frames",
            ),
            (
                "Pose applied; the policy acts, step by step",
                "eval/rollout.py, policies/",
                "test at the last step",
            ),
            ("The outcome is kept", "eval/store.py, recording.py", "every result"),
            ("Rates, MMRV, r, their intervals", "eval/compare.py, metrics.py, summary.py", "numbers"),
            ("What they allow to be said", "eval/headline.py, caveats.py", "words"),
            ("report.json, report.html", "eval/report.py, figures.py, run_folder.py", ""),
        ),
        ((4, 1, "next trial"),),
    ),
    "way-of-a-pair": Diagram(
        "The way of a training pair through the files",
        (
            (
                "Input, photograph and wording are drawn",
                "training/data.py, regions.py, envs/drawer/inputs.py",
                "frame, mask, style image",
            ),
            ("Edits from one noise: the rollout", "training/sampler.py, rollout.py", "two trajectories"),
            ("Scored: structure kept? style met?", "scores/structural.py, semantic.py", "two numbers each"),
            ("Ranked over the step: the feedback", "training/feedback.py", "winner and loser"),
            ("Their likelihood, now and at the start", "training/policy.py, update.py", "log-probabilities"),
            ("The winner made likelier: the objective", "training/update.py, training/objectives", "weights"),
            ("Saved, shown", "training/checkpoint.py, log.py, pictures.py", "a specialist's folder"),
            ("Tried on frames that it never saw", "training/ending.py, worth.py", ""),
        ),
        ((6, 0, "next step"),),
    ),
}


TEMPLATE = f"""\
<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{{title}}"
  viewBox="0 0 {{width}} {{height}}" width="{{width}}" height="{{height}}">
<title>{{title}}</title>
<style>
text {{{{ fill: {SOFT}; font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }}}}
.what {{{{ fill: {INK}; font-size: 14.5px; font-weight: 600; text-anchor: middle; }}}}
.files {{{{ font: 12.5px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; text-anchor: middle; }}}}
</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 L8 4 L0 8 Z" fill="{LINE}"/>
</marker>
</defs>
<rect width="{{width}}" height="{{height}}" rx="12" fill="{GROUND}"/>
{{body}}
</svg>
"""


def svg(diagram: Diagram) -> str:
    tops = [TOP + i * (HEIGHT + GAP) for i in range(len(diagram.steps))]
    height = tops[-1] + HEIGHT + TOP
    middle, right = LEFT + BOX / 2, LEFT + BOX
    drawn = []
    for top, (what, files, then) in zip(tops, diagram.steps, strict=True):
        drawn += [
            f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="8" fill="{FILL}" '
            f'stroke="{LINE}"/>',
            f'<text x="{middle}" y="{top + 23}" class="what">{escape(what)}</text>',
            f'<text x="{middle}" y="{top + 42}" class="files">{escape(files)}</text>',
        ]
        if top != tops[-1]:
            drawn.append(arrow(f"M{middle} {top + HEIGHT} V{top + HEIGHT + GAP - 2}"))
            drawn.append(f'<text x="{middle + 10}" y="{top + HEIGHT + 21}">{escape(then)}</text>')
    for start, end, when in diagram.loops:
        again = start == end
        low, high = tops[start] + (40 if again else 28), tops[end] + (14 if again else 28)
        out = right + (12 if again else 24)
        drawn.append(arrow(f"M{right} {low} H{out} V{high} H{right + 2}"))
        drawn.append(f'<text x="{out + 5}" y="{(low + high) / 2 + 4}">{escape(when)}</text>')
    body = "\n".join(drawn)
    return TEMPLATE.format(title=escape(diagram.title), width=WIDTH, height=height, body=body)


def arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'


def main() -> None:
    for name, diagram in DIAGRAMS.items():
        (DOCS / f"{name}.svg").write_text(svg(diagram), encoding="utf-8")
        print(f"docs/{name}.svg")


if __name__ == "__main__":
    main()
