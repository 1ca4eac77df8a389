"""What reads files that other people wrote: for each such loader good files to damage, and how it is called.

A loader may take what it is given or raise a `SimeditError` of some sentences; anything else is a fault.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from fuzz_mutations import copied, mutate

from simedit.errors import SimeditError

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MAPPINGS = [f"../policies/wire/mappings/{name}.yaml" for name in ("pi0_fractal", "openvla")]
LONGEST = 2000
"""Characters of a message that a person still reads."""


class Loader(NamedTuple):
    """Attributes:
    make: writes good files into an empty folder.
    load: reads them, and uses what was read.
    files: a glob of those to damage.
    """

    make: Callable[[Path], Any]
    load: Callable[[Path], Any]
    files: str = "**/*"


class Fault(Exception):
    """A loader's end that is neither good nor a clear error."""


def damage(name: str, template: Path, folder: Path, random: Random) -> list[str]:
    """Damage a copy of a loader's good files, and tell how."""
    copied(template, folder)
    return mutate([file for file in sorted(folder.glob(LOADERS[name].files)) if file.is_file()], random)


def load(name: str, folder: Path) -> SimeditError | None:
    """Call a loader on files, and give its clear error, if there is one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            LOADERS[name].load(folder)
    except SimeditError as error:
        if len(str(error)) > LONGEST:
            raise Fault(f"a message of {len(str(error))} characters: {str(error)[:300]}") from error
        return error
    return None


def template(name: str, folder: Path) -> Path:
    """The good files of a loader, made in an empty folder, and seen to load."""
    folder.mkdir(parents=True)
    LOADERS[name].make(folder)
    if (error := load(name, copied(folder, folder.with_name(f"{folder.name}_copy")))) is not None:
        raise Fault(f"{name}: the good files are refused: {error}")
    return folder


def _written(*names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            (folder / Path(name).name).write_bytes((CONFIGS / name).read_bytes())

    return make


def _config(kind: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from simedit.config import load_config
        from simedit.eval.config import StudyConfig, resolved
        from simedit.eval.trials import trials
        from simedit.training.config import StyleConfig, TrainConfig

        known: dict[str, Any] = {"study": StudyConfig, "train": TrainConfig, "style": StyleConfig}
        for file in sorted(folder.glob("*.yaml")):
            config = load_config(known[kind], file)
            if kind == "study":
                next(trials(resolved(config)))
            if kind == "style":
                config.named("gold")

    return read


def _ablation(folder: Path) -> None:
    from simedit.lab.ablations.config import load_ablations
    from simedit.lab.ablations.study import jobs

    for file in sorted(folder.glob("*.yaml")):
        for ablation in load_ablations([str(file)], ()).values():
            jobs(folder / "out", ablation)


def _overrides(folder: Path) -> None:
    from simedit.config import load_config
    from simedit.training.config import TrainConfig

    file = folder / "set.txt"
    lines = (
        (file.read_bytes() if file.is_file() else b"steps=1").decode(errors="surrogateescape").splitlines()
    )
    load_config(TrainConfig, CONFIGS / "train/material.yaml", lines)


def _make_overrides(folder: Path) -> None:
    lines = [
        "steps=3",
        "style.scales.text=2",
        "inputs={kind: twin, frames: 3}",
        "update.betas=[0.9, 0.99]",
    ]
    (folder / "set.txt").write_text("\n".join(lines), encoding="utf-8")


def _make_rates(folder: Path) -> None:
    policies = "policies:\n  a: {open: 0.5, close: {successes: 3, n: 7}}\n  b: {open: 0, close: 1}\n"
    (folder / "real.yaml").write_text(f"source: our lab\n{policies}", encoding="utf-8")


def _rates(folder: Path) -> None:
    from simedit.envs.drawer.suite import DrawerSuite
    from simedit.eval.config import RealConfig
    from simedit.eval.published import load_real

    rates = load_real(
        RealConfig(source=str(folder / "real.yaml")), DrawerSuite(), ["a", "b"], ["open", "close"]
    )
    assert all(0 <= float(rates.policies[p].rate(t) or 0) <= 1 for p in "ab" for t in ("open", "close"))


def _make_specialist(folder: Path) -> None:
    from simedit.tiny import make_tiny_library

    make_tiny_library(folder, ["gold"])


@functools.cache
def _library() -> Any:
    from simedit.library import SpecialistLibrary
    from simedit.tiny import tiny_pipeline

    return SpecialistLibrary(tiny_pipeline(), steps=1)


def _specialist(folder: Path) -> None:
    from simedit.eval.library import find_specialists, is_untrained
    from simedit.specialist import Specialist

    is_untrained(folder / "gold")
    find_specialists(folder, ["gold"])
    specialist, library = Specialist.load(folder / "gold"), _library()
    library.add(specialist)
    try:
        frames = np.full((1, 16, 16, 3), 99, np.uint8)
        library.edit(frames, styles=[specialist.card.style], seeds=[0])
    finally:
        library.remove(specialist.card.style)


def _make_recipe(folder: Path) -> None:
    from small_recipes import make_recipe

    _make_specialist(folder)
    passes = {"specialist": "gold", "region": "block", "prompt": "of gold"}, {"specialist": "gold"}
    make_recipe(folder, "tabletop", *passes)


def _recipe(folder: Path) -> None:
    from simedit.eval.library import base_of, find_specialists, is_untrained, models_of
    from simedit.recipe import Recipe, regions_of

    where = folder / "tabletop"
    regions_of(where)
    base_of([where])
    is_untrained(where)
    models_of(where)
    find_specialists(folder, ["gold"])
    recipe, library = Recipe.load(where), _library()
    recipe.save(folder / "again")
    if any(one.nouns for one in recipe.passes):  # which are looked for by models from the hub
        return
    library.add(recipe)
    try:
        frames, mask = np.full((1, 16, 16, 3), 99, np.uint8), np.ones((1, 16, 16), bool)
        masks = {one.region or "": mask for one in recipe.passes}
        library.edit(frames, styles=[recipe.name], masks=masks, seeds=[0])
    finally:
        library.remove(recipe.name)


def _recipe_config(folder: Path) -> None:
    from simedit.config import load_config
    from simedit.recipe import RecipeConfig

    load_config(RecipeConfig, folder / "recipe.yaml")


def _make_recipe_config(folder: Path) -> None:
    lines = (
        "name: tabletop",
        "passes:",
        "  - {specialist: gold, region: block, prompt: of gold}",
        "  - {specialist: wood, nouns: [a, b]}",
        "regions: {detector: ./there, box_threshold: 0.5}",
    )
    (folder / "recipe.yaml").write_text("\n".join(lines), encoding="utf-8")


def _laid(folder: Path) -> None:
    from simedit.photograph import PhotographEditor

    editor, frames = PhotographEditor.load(folder / "gold"), np.full((1, 16, 16, 3), 99, np.uint8)
    editor.edit(frames, styles=editor.styles, masks=np.ones((1, 16, 16), bool), seeds=[0])


def _base(folder: Path) -> None:
    from simedit.library import SpecialistLibrary

    library = SpecialistLibrary.load(folder / "gold", steps=2)
    library.edit(np.full((1, 16, 16, 3), 99, np.uint8), styles=library.styles, seeds=[0])


def _footprint(folder: Path) -> None:
    from simedit.config import load_config
    from simedit.training.config import TrainConfig
    from simedit.training.estimate import estimate, table

    small = ["width=32", "height=32", "samples=8", "sampling.batch_size=2", "update.batch_size=1"]
    config = load_config(TrainConfig, CONFIGS / "train/material.yaml", [f"base={folder / 'base'}", *small])
    table(estimate(config))


def _make_cloned(folder: Path) -> None:
    from simedit.policies.cloned import Network, NetworkConfig
    from simedit.policies.networks import save

    small = NetworkConfig(width=16, height=8, channels=[4, 4, 4], features=8, hidden=8)
    save(Network(small), small, folder / "policy")


def _cloned(folder: Path) -> None:
    from simedit.policies.cloned import INSTRUCTIONS, ClonedPolicy

    policy = ClonedPolicy(folder / "policy")
    policy.reset(INSTRUCTIONS[0])
    for _ in range(2):
        assert np.isfinite(policy.act(np.full((8, 16, 3), 99, np.uint8)).to_array()).all()


def _make_embeddings(folder: Path) -> None:
    import json

    rng = np.random.default_rng(0)
    table = {i: rng.normal(size=512).astype(np.float32) for i in ("open top drawer", "close top drawer")}
    np.savez(folder / "table.npz", **table)
    (folder / "table.json").write_text(json.dumps({i: vector.tolist() for i, vector in table.items()}))


def _embeddings(folder: Path) -> None:
    from simedit.policies.rt1 import read_embeddings

    for name in ("table.npz", "table.json"):
        for vector in read_embeddings(folder / name).values():
            assert vector.dtype == np.float32
            assert np.isfinite(vector).all()


def _make_messages(folder: Path) -> None:
    from simedit.policies.wire.codec import pack

    said = {
        "needs": ["frame"],
        "action_spec": {"position": {"name": "position", "dims": 7, "format": "x"}},
        "observation_spec": {"image": {"name": "image", "dims": 0, "format": "rgb"}},
        "actions": np.linspace(-1, 1, 14, dtype=np.float32).reshape(2, 7),
        "terminate": np.array([False, True]),
        "seed": np.int64(3),
    }
    for flavour in ("openpi", "vla_eval"):
        (folder / flavour).write_bytes(pack(said, flavour))


def _messages(folder: Path) -> None:
    """As metadata, and as an answer."""
    import json

    from simedit.policies.mappings import named_mapping
    from simedit.policies.wire.codec import unpack
    from simedit.policies.wire.convert import Actions
    from simedit.policies.wire.fit import check_fit, identity

    mapping = named_mapping("simedit")
    for file in filter(Path.is_file, sorted(folder.iterdir())):
        said = unpack(file.read_bytes())
        actions = Actions(mapping.action, None).read(said)
        assert all(np.isfinite(action.to_array()).all() for action in actions)
        json.dumps(identity(said))
        check_fit(mapping, said)


def _mappings(folder: Path) -> None:
    from simedit.config import load_config
    from simedit.policies.mappings import Mapping
    from simedit.policies.wire.convert import Actions, needs, observation

    pose = np.array([0, 0, 0, 1, 0, 0, 0], np.float32)
    robot = {"joint_positions": pose, "gripper": 0.5, "tool_pose": pose}
    frame = np.full((4, 6, 3), 99, np.uint8)
    for file in sorted(folder.glob("*.yaml")):
        mapping = load_config(Mapping, file)
        seen = {"frame": frame, "proprioception": robot, "cameras": {}}
        sizes = [(image.width or 0) * (image.height or 0) for image in mapping.images]
        if max(sizes, default=0) <= 1 << 16:  # larger ones take seconds
            observation(mapping, seen, "x", seed=0, first=True, needs=(*needs(mapping), "proprioception"))
        Actions(mapping.action, mapping.action.execute)


def _make_run(folder: Path) -> None:
    from simedit.config import load_config
    from simedit.eval.config import StudyConfig, resolved
    from simedit.eval.published import load_real
    from simedit.eval.recording import strip_path
    from simedit.eval.run_folder import keep
    from simedit.eval.store import Store
    from simedit.eval.summary import Facts
    from simedit.eval.trials import Result, trials

    settings = [
        "scenes.pose=[a0]",
        "scenes.drawer=[top]",
        "domains=[raw, edited]",
        "styles=[gold]",
        "real={source: none}",
    ]
    config = resolved(load_config(StudyConfig, CONFIGS / "eval/demo.yaml", settings))
    real = load_real(config.real, config.suite, list(config.policies), list(config.tasks))
    with Store(folder / "run", write=True) as store:
        keep(store, config, real, Facts(untrained=["gold"], absent={"raw": {"x": "y.glb"}}))
        store.agree({"max_steps": 9, "policies": "x"})
        for i, trial in enumerate(trials(config)):
            outcome = ("success", "failure", "error")[i % 3]
            store.put(Result(trial, outcome, i, 0.1, (0.6, -0.1, 0.0), {"reach": 0.1}, f"{i:x}", "a message"))
    strip = strip_path(folder / "run", next(iter(trials(config))))
    strip.parent.mkdir()
    _picture(strip)


def _run(folder: Path) -> None:
    from simedit.eval.run_folder import kept, write_report
    from simedit.eval.store import Store
    from simedit.eval.summary import status

    with Store(folder / "run", write=False) as store:
        config, _, facts = kept(store)
        status(config, store.results(), facts)
        write_report(store)
    with Store(folder / "run", write=True) as store:
        store.agree({"max_steps": 9})
        for result in list(store.results().values())[:2]:
            store.put(replace(result, steps=1))


def _make_runs(folder: Path) -> None:
    _make_run(folder)
    copied(folder / "run", folder / "other")


def _runs(folder: Path) -> None:
    from simedit.eval.changes import changes
    from simedit.eval.changes_page import changes_html
    from simedit.eval.two_runs import read_runs

    runs = read_runs(folder / "run", folder / "other")
    changes_html(changes(*runs), *runs)


def _make_arms(folder: Path) -> None:
    from small_arms import play

    from simedit.eval.run_folder import keep_players
    from simedit.eval.store import Store

    with Store(play(folder / "run"), write=True) as store:
        store.agree({"checkpoints.able": "1a", "checkpoints.poor": "2b"})
        keep_players(store, [{"torch": "2"}])


def _arms(folder: Path) -> None:
    from unittest import mock

    from simedit.eval.arms import read_arms
    from simedit.eval.evidence import evidence

    few = {"DRAWS": 50, "WORTH_DRAWS": 5, "EVALUATIONS": 20}
    with mock.patch.multiple("simedit.eval.evidence", **few):
        raw, *others = read_arms([str(folder / "run")])
        evidence([raw, *others], [(other.name, raw.name) for other in others])


def _make_log(folder: Path) -> None:
    from simedit.training.log import Log

    log, seconds = Log(folder, 1), {"sample": 1.5, "update": 2}
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5 / step, "seconds": seconds, "kept": None})


def _log(folder: Path) -> None:
    from simedit.training.log import METRICS, Log

    log = Log(folder, 3)
    log.write({"step": 3, "loss": 0.1})
    assert (folder / METRICS).is_file()
    assert all(record["step"] <= 3 for record in log.records)


def _make_checkpoint(folder: Path) -> None:
    import torch

    from simedit.specialist import Card, Specialist
    from simedit.training import checkpoint as checkpoints
    from simedit.training.checkpoint import Checkpoint, Progress
    from simedit.training.rollout import Rollout

    weights = {"unet.a": torch.ones(3, 2), "style_attention.b": torch.ones(2)}
    state = [{"step": torch.tensor(2.0), "exp_avg": torch.ones(3, 2)}, {}, {"step": torch.tensor(2.0)}]
    image = np.full((4, 5, 3), 99, np.uint8)
    specialist = Specialist(Card(style="gold", instruction="make it gold"), weights, (image,))
    n, scores = torch.arange(2), torch.ones(2, 2)
    latents, log_probs = torch.ones(2, 2, 5, 4, 2, 2), torch.ones(2, 2, 3)
    named = {"structural": scores, "semantic": scores + 0}
    rollout = Rollout(latents, log_probs, torch.ones(2, 4, 2, 2), n, n + 0, n + 0, named)
    for step, kept in ((1, None), (2, None), (2, rollout)):
        progress = Progress(step, 1, 0, {"loss": 0.5})
        found = Checkpoint(specialist, state, progress, kept, newest={"semantic.0": scores.flatten()})
        checkpoints.save(folder / "checkpoints", found, keep=2)


def _checkpoint(folder: Path) -> None:
    from simedit.training import checkpoint as checkpoints

    checkpoints.step_folders(folder / "checkpoints")
    newest = checkpoints.latest(folder / "checkpoints")
    if newest is not None:
        found = checkpoints.load(newest)
        assert found.progress.step >= 0
        checkpoints.save(folder / "checkpoints", found, keep=2)


def _make_training(folder: Path) -> None:
    import json

    from simedit.config import load_config
    from simedit.training.config import TrainConfig

    light = [
        "scores.semantic.encoder=texture",
        "scores.structural={kind: canny}",
        "regions={inputs: full-frame, styles: full-frame}",
        "inputs={kind: images, path: photographs}",  # the twin would need the simulator
    ]
    config = load_config(TrainConfig, CONFIGS / "train/material.yaml", light).model_dump(mode="json")
    run = {"name": "gold", "id": "abc", "specialist": str(folder / "gold"), "config": config}
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def _training(folder: Path) -> None:
    """As far as it comes: there is no checkpoint."""
    import contextlib
    import io

    from simedit.training.cli import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["--resume", str(folder), "--set", "steps=3"])
    assert code == 2, code
    if "no checkpoint to go on from" not in said.getvalue():
        raise SimeditError(said.getvalue())


def _picture(path: Path, colours: int = 256, mode: str = "RGB") -> None:
    from PIL import Image

    grain = np.random.default_rng(len(path.name)).integers(0, colours, (36, 40, 3), np.uint8)
    grain *= 255 // (colours - 1)
    pixels = grain if colours > 2 else grain[..., :1].repeat(3, -1)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def _make_images(folder: Path) -> None:
    for i, suffix in enumerate(("png", "jpg", "webp", "tif", "bmp")):
        _picture(folder / "images" / f"{i}.{suffix}")
        _picture(folder / "masks" / f"{i}.png", 2, ("L", "1", "RGBA", "P", "RGB")[i])


def _images(folder: Path) -> None:
    """Each alone, or the first error would hide the others."""
    from simedit.files import edit_images, plan, read_mask

    errors = []
    for file in sorted((folder / "images").iterdir()):
        try:
            jobs = plan(file, folder / "out" / file.name)
            edit_images(jobs, lambda frames, _: 255 - frames, batch_size=2, done=lambda _: None)
        except SimeditError as error:
            errors.append(error)
    for file in sorted((folder / "masks").iterdir()):
        try:
            read_mask(file)
        except SimeditError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _photographs(folder: Path) -> None:
    from simedit.training.config import ImagesConfig
    from simedit.training.data import ImageInputs, read_style_images, read_style_masks

    inputs = ImageInputs(ImagesConfig(path=str(folder / "images"), masks=str(folder / "masks")), 16, 16)
    for i in range(len(inputs)):
        inputs[i]
    read_style_masks(folder / "masks", read_style_images(folder / "images"))


def _make_video(folder: Path) -> None:
    import imageio.v2 as imageio

    frames: Any = [np.full((16, 24, 3), 40 * i, np.uint8) for i in range(5)]
    for name in ("in.mp4", "in.avi"):
        imageio.mimwrite(folder / name, frames, format="FFMPEG", fps=5, macro_block_size=1)  # type: ignore[arg-type]


def _video(folder: Path) -> None:
    from simedit.files import edit_video, plan

    for name in ("in.mp4", "in.avi"):
        (job,) = plan(folder / name, folder / f"out_{name}", overwrite=True)
        edit_video(job, lambda frames: 255 - frames, batch_size=2, done=lambda _: None)


def _make_dataset(folder: Path) -> None:
    from small_dataset import TOP, write_small

    write_small(folder / "dataset", cameras=(TOP,), lengths=(3, 4))


def _dataset(folder: Path) -> None:
    from simedit.lerobot.editing import edit_dataset, plan_dataset

    job = plan_dataset(folder / "dataset", folder / "edited")
    edit_dataset(job, lambda frames, seeds: 255 - frames, {}, seed=0, batch_size=4, title="negative")


def _make_recording(folder: Path) -> None:
    from simedit.eval.recording import Recording, save_video, video_path
    from simedit.eval.store import Store

    _make_run(folder)
    with Store(folder / "run", write=True) as store:
        trial, result = next(iter(store.results().items()))
        store.put(replace(result, steps=3))
    recording = Recording()
    for i in range(4):
        frame = np.full((16, 24, 3), 40 * i, np.uint8)
        recording.add(frame, frame if trial.domain == "edited" else None)
    save_video(recording, video_path(folder / "run", trial))


def _recording(folder: Path) -> None:
    from simedit.eval.inputs import RunInputs
    from simedit.training.config import RunConfig

    inputs = RunInputs(RunConfig(path=str(folder / "run")), 16, 16)
    for i in range(len(inputs)):
        inputs[i]


def _make_assets(folder: Path) -> None:
    from simedit.envs.drawer import assets
    from simedit.envs.drawer.poses import POSES

    def write(name: str, text: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    urdf = "<robot><link><visual><geometry><mesh filename='{}'/></geometry></visual></link></robot>"
    for variant in assets.ROBOT_VARIANTS:
        write(assets.robot_urdf(variant), urdf.format("meshes/arm.obj"))
    for cabinet in assets.CABINETS:
        write(assets.cabinet_urdf(cabinet), urdf.format("models/stone_tabletop.glb"))
    meshes = Path(assets.robot_urdf()).parent / "meshes"
    write(f"{meshes}/arm.obj", "mtllib arm.mtl\nv 0 0 0\nf 1 2 3\n")
    write(f"{meshes}/arm.mtl", "newmtl a\n  map_Kd arm.png\n")
    write("data/custom/models/stone_tabletop.glb", "glTF\2\0\0\0\x10\0\0\0abcd")
    for name in (f"{meshes}/arm.png", *map(assets.photograph, POSES)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(folder / name)


def _assets(folder: Path) -> None:
    from simedit.envs.drawer.assets import verify

    verify(folder)


def _make_open_clip(folder: Path) -> None:
    import torch
    from small_clip import OpenClip, save_clip

    from simedit.metrics.preference import HPS_FILE

    model = save_clip(folder)
    words = model.config.text_config.vocab_size
    torch.save({"state_dict": OpenClip(words, 77).state_dict()}, folder / HPS_FILE)


def _open_clip(folder: Path) -> None:
    from simedit.metrics import Scene
    from simedit.metrics.preference import load_hps

    frame = np.zeros((20, 30, 3), np.uint8)
    load_hps(str(folder), "cpu")(frame[None], Scene(frame, prompt="gold"))


LOADERS = {
    "study": Loader(_written("eval/demo.yaml", "eval/lab.yaml", "eval/paper.yaml"), _config("study")),
    "train": Loader(_written("train/material.yaml", "train/canny.yaml"), _config("train")),
    "style": Loader(_written("styles/gold.yaml", "styles/rain.yaml"), _config("style")),
    "ablation": Loader(_written("ablations/encoder.yaml", "ablations/guidance.yaml"), _ablation),
    "overrides": Loader(_make_overrides, _overrides),
    "rates": Loader(_make_rates, _rates),
    "specialist": Loader(_make_specialist, _specialist, "gold/*"),
    "recipe": Loader(_make_recipe, _recipe, "tabletop/**/*"),
    "recipe config": Loader(_make_recipe_config, _recipe_config),
    "laid": Loader(_make_specialist, _laid, "gold/*"),
    "base": Loader(_make_specialist, _base, "base/**/*"),
    "footprint": Loader(_make_specialist, _footprint, "base/*/config.json"),
    "cloned": Loader(_make_cloned, _cloned),
    "embeddings": Loader(_make_embeddings, _embeddings),
    "messages": Loader(_make_messages, _messages),
    "mappings": Loader(_written(*MAPPINGS), _mappings),
    "run": Loader(_make_run, _run, "run/**/*"),
    "runs": Loader(_make_runs, _runs, "run/**/*"),
    "arms": Loader(_make_arms, _arms, "run/**/*"),
    "log": Loader(_make_log, _log, "metrics.jsonl"),
    "checkpoint": Loader(_make_checkpoint, _checkpoint, "checkpoints/*/*"),
    "training": Loader(_make_training, _training),
    "images": Loader(_make_images, _images),
    "photographs": Loader(_make_images, _photographs),
    "video": Loader(_make_video, _video),
    "dataset": Loader(_make_dataset, _dataset, "dataset/**/*"),
    "recording": Loader(_make_recording, _recording, "run/*"),
    "assets": Loader(_make_assets, _assets),
    "open_clip": Loader(_make_open_clip, _open_clip, "*.pt"),
}
