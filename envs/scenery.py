"""What stands around the robot, as SIMPLER's drawer scenes have it: cabinet, ground or room, and lights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

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
