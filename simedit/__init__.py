"""Repaint a robot simulator's camera frames with diffusion specialists."""
