"""Push-T: what is acted in, how it looks, and where in a frame everything is."""
