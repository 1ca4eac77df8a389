"""Pictures of the docs: at-work.jpg and at-work.webp, the robot at work over photographs, before and after;
seven.png and five.png, photographs and what became of them; anywhere.png, edits of environments that others
wrote (needs box2d); push-t.jpg, Push-T as it is drawn and photographed; and scatter.png, a study's result."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from simedit.envs.drawer.suite import DrawerSuite
from simedit.envs.push_t.env import arrange, drawn, simulator
from simedit.envs.push_t.proxy_real import photograph
from simedit.envs.push_t.scene import draw_state
from simedit.errors import SimeditError, run_cli
from simedit.eval.figures import PALETTE
from simedit.eval.headline import number
from simedit.lab.materials import STYLES
from simedit.lab.quality import episode, strip
from simedit.library import SpecialistLibrary
from simedit.observations import get_path
from simedit.pipeline import SpecialistPipeline, silence_loading
from simedit.policies.scripted import ScriptedExpert
from simedit.specialist import Specialist
from simedit.training.data import fit
from simedit.training.worth import strip as beside
from simedit.wrapper import EditObservation

WIDTH, HEIGHT = 640, 512  # SIMPLER's camera
TIMES = (0.0, 0.5, 0.95)
DOMAINS = ("raw", "varagg", "vismatch", "edited")
MARKERS = "osD^vP*X"
AT_WORK = {"wood": 11, "black_marble": 1, "steel": 3}
"""Materials, and the seeds of the kitchens behind them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default="lab", help="folder of specialists; lab: those that ship")
    parser.add_argument("--run", type=Path, help="folder of a finished study; without it, no scatter.png")
    parser.add_argument("--five", type=Path, help="folder of specialists to show beside their photographs")
    parser.add_argument("--anywhere", action="store_true", help="draw anywhere.png, and nothing else")
    parser.add_argument("--push-t", action="store_true", help="draw push-t.jpg, and nothing else")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where the pictures go")
    args = parser.parse_args()
    if args.push_t:
        push_t(args.out / "push-t.jpg")
        return
    silence_loading()
    summary = None if args.run is None else read_report(args.run)
    shipped = files("simedit.lab") / "data" / "specialists"
    folder = Path(str(shipped)) if args.library == "lab" else Path(args.library)
    library = SpecialistLibrary.load(folder)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.anywhere:
        save(strip(anywhere(library), columns=3), args.out / "anywhere.png")
        return
    styles = [style for style in STYLES if style in library.styles]
    at_work(library, args.out)
    save(sheet([Specialist.load(folder / style) for style in styles]), args.out / "seven.png")
    if args.five is not None:
        cards = sorted(args.five.glob("*/card.json"))
        save(sheet([Specialist.load(card.parent) for card in cards]), args.out / "five.png")
    if summary is not None:
        save(scatter(summary), args.out / "scatter.png")


def at_work(library: SpecialistLibrary, out: Path) -> None:
    """Write at-work.jpg, the robot at work before photographs, above the same in a material each, and
    at-work.webp, whole episodes beside their edits, one after the other for ever."""
    before, after, moving = [], [], []
    times = np.linspace(0.35, 0.95, len(AT_WORK))
    for time, (style, kitchen) in zip(times, AT_WORK.items(), strict=True):
        frames, masks = over_photograph(kitchen, "open", "middle", "b1")
        count = len(frames)
        edits = library.edit(frames, styles=[style] * count, masks=masks, seeds=[0] * count)
        before.append(frames[shown := int(time * (count - 1))])
        after.append(edits[shown])
        pairs = zip(frames, edits, strict=True)
        moving += [Image.fromarray(beside([[fit(one, 400, 320) for one in pair]])) for pair in pairs]
    Image.fromarray(beside([before, after])).save(still := out / "at-work.jpg", quality=88)
    video = out / "at-work.webp"
    moving[0].save(video, save_all=True, append_images=moving[1:], duration=120, loop=0, quality=60, method=6)
    for path in (still, video):
        print(f"{path}: {path.stat().st_size // 1000} kB")


def over_photograph(kitchen: int, task: str, drawer: str, pose: str) -> tuple[np.ndarray, np.ndarray]:
    """The scripted expert's episode before a photograph of one of proxy-real's kitchens: frames uint8
    [T, 512, 640, 3], and the cabinet's masks, bool [T, 512, 640]."""
    suite = DrawerSuite(photographs="proxy_real", width=WIDTH, height=HEIGHT)
    env = suite.make("vismatch", "plain")
    obs, _ = env.reset(seed=kitchen, options={"task": task, "scene": (drawer, pose)})
    twin: Any = env.unwrapped
    expert, frames, masks = ScriptedExpert(twin.privileged_state), [], []
    for _ in range(60):
        seen = obs["sensor_data"]["overhead_camera"]
        rgb, ids = (np.asarray(seen[key]).reshape(HEIGHT, WIDTH, -1) for key in ("rgb", "segmentation"))
        frames.append(rgb.copy())
        masks.append(np.isin(ids[..., 0], twin.edit_segmentation_ids))
        action = expert.act(np.empty(0))
        if action.terminate:
            break
        obs, *_ = env.step(action.to_array())
    env.close()
    return np.stack(frames), np.stack(masks)


def push_t(path: Path) -> None:
    """Write four states of Push-T, as gym-pusht draws them above the same in proxy-real."""
    env, random, size = simulator(256), np.random.default_rng(6), 256
    rows: list[list[np.ndarray]] = [[], []]
    for visit in range(4):
        state = draw_state(random)
        arrange(env, state)
        for row, picture in zip(rows, (drawn(env), photograph(state, size, visit)[0]), strict=True):
            row.append(picture)
    Image.fromarray(beside(rows)).save(path, quality=88)


class Watched:
    """The library, and the last frames that it was given."""

    def __init__(self, library: SpecialistLibrary) -> None:
        self.library, self.styles = library, library.styles

    def edit(self, frames: Any, **asked: Any) -> Any:
        self.frames = frames
        return self.library.edit(frames, **asked)


def anywhere(library: SpecialistLibrary) -> dict[str, np.ndarray]:
    """Of three environments a frame, its edit in gold, and eight times what has changed, each 256 x 256."""
    import gym_pusht  # noqa: F401 (registers)
    import mani_skill.envs  # noqa: F401 (registers)

    size = {"width": 256, "height": 256}
    push_t = {"obs_type": "pixels_agent_pos", "observation_width": 256, "observation_height": 256}
    cube = {"obs_mode": "rgb+segmentation", "sensor_configs": size}
    kinds: list[tuple[str, dict[str, Any], str, dict[str, Any], int]] = [
        ("gym_pusht/PushT-v0", push_t, "the T", {"mask": lambda obs: obs["pixels"].max(-1) < 200}, 0),
        ("PushCube-v1", cube, "cube and table", {"mask_ids": ["cube", "table-workspace"]}, 0),
        ("CarRacing-v3", {}, "the whole edit", {"composition": "none"}, 50),  # until it has zoomed in
    ]
    rows: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for name, settings, where, how, steps in kinds:
        editor = Watched(library)
        env = EditObservation(gymnasium.make(name, **settings), editor, "gold", **how)
        obs, _ = env.reset(seed=1)
        for left in reversed(range(steps)):  # below the wrapper: the last frame alone is edited
            obs, *_ = env.env.step(np.zeros(3, np.float32))
            obs = obs if left else env.observation(obs)
        after = np.asarray(get_path(obs, env.image_keys[0])).reshape(editor.frames[0].shape)
        env.close()
        change = np.abs(after.astype(int) - editor.frames[0])
        pictures = editor.frames[0], after, np.minimum(8 * change, 255).astype(np.uint8)
        labels = name.rpartition("/")[2], f"gold: {where}", f"its change x 8: {where}"
        for row, label, picture in zip(rows, labels, pictures, strict=True):
            row[label] = np.array(Image.fromarray(picture).resize((256, 256), Image.Resampling.LANCZOS))
    return rows[0] | rows[1] | rows[2]


def sheet(specialists: list[Specialist]) -> np.ndarray:
    """A row for each specialist, uint8 [h, w, 3]: two of its photographs, then an episode's frames in its
    style at three times; above them the raw frames."""
    frames, masks = episode("open", "middle", "b1", TIMES, HEIGHT)
    library = SpecialistLibrary(SpecialistPipeline.from_pretrained(specialists[0].card.base))
    blank = np.full_like(frames[0], 255)
    pictures = {" ": blank, "  ": blank, **{f"raw, {t:.0%}": f for t, f in zip(TIMES, frames, strict=True)}}
    for one in specialists:
        name = one.card.style
        library.add(one)
        found = library.edit(frames, styles=[name] * len(frames), masks=masks, seeds=[0] * len(frames))
        library.remove(name)
        photographs = [fit(photograph, WIDTH, HEIGHT) for photograph in one.style_images]
        others = [photograph for i, photograph in enumerate(photographs) if i != one.card.style_image]
        row = [photographs[one.card.style_image], (others or photographs)[0], *found]
        labels = (name, f"{name}, again", *(f"{name}, {time:.0%}" for time in TIMES))
        pictures |= dict(zip(labels, row, strict=True))
    return strip(small(pictures, WIDTH // 4), columns=2 + len(TIMES))


def small(pictures: dict[str, np.ndarray], width: int = 240) -> dict[str, np.ndarray]:
    """Of that width, before they are labelled, so that the labels can be read."""
    return {label: fit(picture, width, width * HEIGHT // WIDTH) for label, picture in pictures.items()}


def read_report(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimeditError(
            f"cannot read the report of {run} ({error}): finish it with simedit-eval run"
        ) from error


def scatter(summary: Mapping[str, Any]) -> np.ndarray:
    """Simulated against real success rates, uint8 [h, w, 3]: a colour for each domain, a mark for each
    policy, its interval behind it, the metrics with theirs in the legend."""
    figure = Figure(figsize=(4.8, 5.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle=(0, (3, 3)))
    for colour, domain in zip(PALETTE, DOMAINS, strict=False):
        if domain not in summary["domains"]:
            continue
        block = list(summary["domains"][domain].values())[-1]  # the average where there are two tasks
        if block["mmrv"] is None:
            raise SimeditError(
                f"the report's domain {domain} has no MMRV: it needs real rates and more trials"
            )
        mmrv, r = (number(block[key], block[f"{key}_ci"]) for key in ("mmrv", "pearson_r"))
        label = f"{domain}: MMRV {mmrv}, r {r}"
        axes.plot([], [], color=colour, marker="o", linestyle="none", label=label)
        for mark, entry in zip(MARKERS, block["policies"].values(), strict=False):
            if entry["wilson"] is not None:
                axes.plot([entry["real"]] * 2, entry["wilson"], color=colour, alpha=0.5, linewidth=1.2)
            axes.plot(entry["real"], entry["sim"], color=colour, marker=mark, markersize=7)
    policies = next(iter(next(iter(summary["domains"].values())).values()))["policies"]
    for mark, policy in zip(MARKERS, policies, strict=False):
        axes.plot([], [], color="0.4", marker=mark, linestyle="none", label=policy)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set(xlabel=f"success rate: {summary['real']['name']}", ylabel="simulated success rate")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def save(picture: np.ndarray, path: Path) -> None:
    image = Image.fromarray(picture)
    # 256 colours are enough for either picture, and a third of the size.
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
