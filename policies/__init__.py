"""What acts: the `Policy` protocol and the policies that follow it."""
