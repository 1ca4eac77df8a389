"""Policies behind a server: the wire protocols, what travels over them, and both ends."""
