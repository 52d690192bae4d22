"""The trainer. It ships alone in the image and imports none of cli, remote and provision."""
