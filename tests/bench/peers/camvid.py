"""The data of the benchmarks: CamVid, extracted and separated by the project's own code."""

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from train.data.dataset import Dataset, ListName, load_dataset, save_dataset
from train.data.extract import extract_archive
from train.data.separate import separate_dataset

ARCHIVE = Path(__file__).parents[4] / "shared" / "data" / "camvid-voc.tar"
CLASSES = 11
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@contextlib.contextmanager
def open_camvid(archive: Path) -> Iterator[tuple[Path, Path]]:
    """A dataset's folder, and an empty one beside it; both are gone at the end."""
    if not archive.exists():
        raise SystemExit(f"{archive} is not there. Fix: name the archive with --archive.")
    # A benchmark that is stopped takes its contestant and its folder along.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="segaway-bench-") as name:
        folder, results = Path(name), Path(name) / "results"
        extract_archive(archive, folder / "raw")
        separate_dataset(folder / "raw", folder / "camvid", name="camvid")
        results.mkdir()
        yield folder / "camvid", results


def shorten_list(folder: Path, target: Path, name: ListName, count: int) -> Path:
    """The same dataset in `target`, with only the first `count` samples of one list."""
    dataset = load_dataset(folder)
    target.mkdir()
    for part in folder.iterdir():
        if part.is_dir():
            os.symlink(part, target / part.name)
    lists = {**dataset.lists, name: dataset.lists[name][:count]}
    save_dataset(dataset.model_copy(update={"lists": lists}), target)
    return target


def list_files(folder: Path, dataset: Dataset, name: ListName) -> list[tuple[Path, Path]]:
    """Image and mask of each sample of a labelled list."""
    samples = dataset.lists[name]
    return [(folder / s.image, folder / s.mask) for s in samples if s.mask is not None]
