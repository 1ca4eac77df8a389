"""Configs that ship: studies (eval), trainings (train) and what a training is told of each style (styles)."""
