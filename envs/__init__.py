"""What is acted in: the drawer twin."""
