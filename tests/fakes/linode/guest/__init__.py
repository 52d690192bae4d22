"""Programs that run inside an emulated instance; each needs nothing but the standard library."""
