"""SIMPLER's drawer tasks: the twin, the original, how they look, and the suite that a study plays."""
