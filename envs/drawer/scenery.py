"""What stands around the robot, as SIMPLER's drawer scenes have it: cabinet, ground or room, and lights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sapien
from mani_skill.envs.scene import ManiSkillScene
from mani_skill.utils.structs import Articulation

LIGHTS = ("simple", "base", "brighter", "darker")
"""Visual Matching's light, then those of Variant Aggregation."""

_CABINET_POSE = sapien.Pose([-0.295, 0.0, 0.017])
_SUN = {"base": 1.0, "brighter": 2.0, "darker": 0.5}

_ROOMS_ORIGIN = sapien.Pose([1.6616, 3.0337, 0.0])
_Y_UP = sapien.Pose(q=[math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0])
_ROOM_POSES = {
    "frl_apartment_stage_simple": _Y_UP,
    "modern_bedroom_no_roof": sapien.Pose([0.178, -2.235, 1.669], [0.007, 0.0, 0.0, -1.0]) * _Y_UP,
    "modern_office_no_roof": sapien.Pose([-0.192, -1.728, 1.48], [0.709, 0.0, 0.0, -0.705]) * _Y_UP,
}

# What the primitive skin has in their place, in linear RGB: floor, wall and where the wall stands (x, m);
# then the colour of a cabinet's top, after those in SIMPLER's files. "mk_station" keeps the colours of ours.
_PLAIN_ROOMS = {
    "frl_apartment_stage_simple": ((0.40, 0.36, 0.31), (0.62, 0.60, 0.55), -1.4),
    "modern_bedroom_no_roof": ((0.20, 0.11, 0.06), (0.35, 0.42, 0.52), -0.9),
    "modern_office_no_roof": ((0.16, 0.18, 0.20), (0.70, 0.70, 0.68), -2.0),
}
_CABINET_COLOURS = {"mk_station2": (0.64, 0.53, 0.41), "mk_station3": (0.39, 0.32, 0.27)}


def add_cabinet(scene: ManiSkillScene, urdf: Path) -> Articulation:
    """The cabinet, its root fixed at SIMPLER's place."""
    loader = scene.create_urdf_loader()
    loader.name = "cabinet"
    builder = loader.parse(str(urdf))["articulation_builders"][0]
    builder.set_initial_pose(_CABINET_POSE)
    cabinet = builder.build(fix_root_link=True)
    for joint in cabinet.active_joints:
        joint.set_friction(0.05)
        joint.set_drive_properties(stiffness=0.0, damping=1.0)
    return cabinet


def add_ground(scene: ManiSkillScene) -> None:
    """A wide white floor, 17 mm thick above the origin, to look at alone: nothing collides with it."""
    ground = scene.create_actor_builder()
    white = sapien.render.RenderMaterial(base_color=[1.0, 1.0, 1.0, 1.0])
    ground.add_box_visual(half_size=(10.0, 10.0, 0.017), material=white)
    ground.set_initial_pose(sapien.Pose())
    ground.build_static(name="ground")


def add_room(scene: ManiSkillScene, name: str, mesh: Path) -> None:
    """A room of Variant Aggregation, with its own floor; to look at alone."""
    room = scene.create_actor_builder()
    room.add_visual_from_file(str(mesh), pose=_ROOM_POSES[name])
    room.set_initial_pose(_ROOMS_ORIGIN)
    room.build_static(name="room")


def add_plain_room(scene: ManiSkillScene, name: str) -> None:
    """A floor and a wall behind the cabinet, in place of the room of that name; to look at alone."""
    room = scene.create_actor_builder()
    floor, wall, behind = _PLAIN_ROOMS[name]
    for colour, centre, half_size in (
        (floor, (0.0, 0.0, 0.0), (10.0, 10.0, 0.017)),
        (wall, (behind, 0.0, 2.0), (0.02, 10.0, 2.0)),
    ):
        material = sapien.render.RenderMaterial(base_color=[*colour, 1.0])
        room.add_box_visual(pose=sapien.Pose(centre), half_size=half_size, material=material)
    room.set_initial_pose(sapien.Pose())
    room.build_static(name="room")


def recolour(cabinet: Articulation, name: str) -> None:
    """Give the primitive cabinet the colour of the cabinet of that name; what was dark stays dark."""
    if name not in _CABINET_COLOURS:
        return
    shapes = list(_render_shapes(cabinet))
    # All are read before any is set, for shapes may share a material.
    light = np.array([shape.material.base_color[:3] for shape in shapes]).mean(1)
    for shape, share in zip(shapes, light / light.max(), strict=True):
        shape.material.base_color = [*(share * np.array(_CABINET_COLOURS[name])), 1.0]


def add_lights(scene: ManiSkillScene, light: str) -> None:
    """The lights of that name, one of LIGHTS."""
    if light == "simple":
        scene.set_ambient_light([1.0, 1.0, 1.0])
        angle = math.radians(75)
        scene.add_directional_light([-math.cos(angle), 0.0, -math.sin(angle)], [1.0, 1.0, 1.0])
        return
    scene.set_ambient_light([0.3, 0.3, 0.3])
    sun = [_SUN[light]] * 3
    scene.add_directional_light([-0.2, 0.0, -1.0], sun, shadow=True, shadow_scale=5.0, shadow_map_size=2048)
    for side in (1.0, -1.0):
        scene.add_directional_light([-1.0, side, -0.05], [0.5, 0.5, 0.5])


def show_ambient_only(body: Articulation) -> None:
    """Show a body's boxes in the ambient light of "simple" alone, as recordings of the original have them.

    It depends on the driver: on Mesa 25.0 the original lights its boxes as SAPIEN 3 does. The likely cause is
    that SAPIEN 2's raster shader normalises tangents that boxes lack, which may leave them without a normal.
    """
    for shape in _render_shapes(body):
        if isinstance(shape, sapien.render.RenderShapeBox):
            shape.material.emission = shape.material.base_color
            shape.material.base_color = [0.0, 0.0, 0.0, 1.0]
            shape.material.roughness = 0.0  # else black still shines a little


def polish(robot: Articulation) -> None:
    """Give the robot the sheen that SIMPLER gives it in Variant Aggregation."""
    for shape in _render_shapes(robot):
        for part in shape.parts:
            part.material.specular = 0.9
            part.material.roughness = 0.3


def _render_shapes(body: Articulation) -> Iterator[sapien.render.RenderShape]:
    for link in body.links:
        for shapes in link.render_shapes:
            yield from shapes
