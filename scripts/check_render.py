"""Render one frame with SAPIEN; a non-zero exit means that no usable Vulkan driver was found."""

import sapien

scene = sapien.Scene()
scene.set_ambient_light([1, 1, 1])
builder = scene.create_actor_builder()
builder.add_box_visual(half_size=[0.5, 0.5, 0.5])
builder.build_static(name="box")
camera = scene.add_camera(name="camera", width=16, height=16, fovy=1.0, near=0.01, far=10)
camera.set_entity_pose(sapien.Pose([-3, 0, 0]))
scene.update_render()
camera.take_picture()
assert camera.get_picture("Color")[8, 8, :3].sum() > 0, "the driver renders black frames"
