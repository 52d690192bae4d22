"""`segaway train`."""

from cli import options


def command(
    run: options.Run = None,
    model: options.Model = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    crop: options.Crop = None,
    batch: options.Batch = None,
    seed: options.Seed = None,
    engine: options.Engine = None,
    image: options.Image = None,
    base_image: options.BaseImage = None,
    memory: options.Memory = None,
    retries: options.Retries = None,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Start the training on the node, detached, and return; segaway attach watches it.

    One that failed or was stopped goes on from its last checkpoint.
    """
    from cli.launch import start_training

    flags = {
        "model": model,
        "epochs": epochs,
        "minutes": minutes,
        "crop": crop,
        "batch": batch,
        "seed": seed,
        "engine": engine,
        "image": image,
        "base_image": base_image,
        "memory": memory,
        "retries": retries,
    }
    start_training(run, flags, dry_run, json)
