"""Training a specialist from a few style images, online, with AI feedback (arXiv 2504.12833, 3.1, 3.2)."""
