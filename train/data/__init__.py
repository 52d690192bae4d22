"""From a published archive to a `Dataset` on disk. No torch in this folder."""
