"""`segaway image`."""

from typing import Annotated, Literal

import typer

from cli import options

Action = Annotated[
    Literal["build", "list"],
    typer.Argument(help="build: make it on the run's node; list: what is there."),
]


def command(
    action: Action,
    run: options.Run = None,
    engine: options.Engine = None,
    image: options.Image = None,
    base_image: options.BaseImage = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Make the trainer's image on a node ahead of its training, or list those that it has.

    An image is named by the trainer's content and its base: the same one is never built twice.
    """
    from cli.images import build_image, list_images

    flags = {"engine": engine, "image": image, "base_image": base_image}
    if action == "build":
        build_image(run, flags, dry_run, json)
    else:
        list_images(run, flags, dry_run, json)
