"""Training a specialist from a few style images, online and with AI feedback (arXiv 2504.12833, 3.1 and 3.2)."""
