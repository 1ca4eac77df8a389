"""What acts: policies, each a `simedit.protocols.Policy`."""
