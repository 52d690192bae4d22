"""`segaway train`."""

from cli import options


def command(
    run: options.Run = None,
    model: options.Model = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    steps: options.Steps = None,
    crop: options.Crop = None,
    batch: options.Batch = None,
    seed: options.Seed = None,
    loss: options.Loss = None,
    lr: options.LearningRate = None,
    set: options.Set = None,
    config_list: options.ConfigList = None,
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
    from cli.config import load_settings
    from cli.console import Console
    from cli.launch import start_training
    from cli.training import describe_config_list

    flags = {
        "model": model,
        "epochs": epochs,
        "minutes": minutes,
        "steps": steps,
        "crop": crop,
        "batch": batch,
        "seed": seed,
        "loss": loss,
        "lr": lr,
        "set": set or None,
        "config_list": config_list,
        "engine": engine,
        "image": image,
        "base_image": base_image,
        "memory": memory,
        "retries": retries,
    }
    settings = load_settings(flags)
    for note in describe_config_list(settings):
        Console(json).say(f"Note: {note}")
    start_training(run, flags, dry_run, json)
