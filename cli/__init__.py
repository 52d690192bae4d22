"""The front doors: what a person types. The only package that knows the others."""
