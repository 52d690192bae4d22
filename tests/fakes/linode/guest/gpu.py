"""nvidia-smi and nvidia-ctk, for GPUs that are not there: what they are is in `GPUS`."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

GPUS = Path("/var/lib/cloud/gpus.json")
DRIVER, CUDA = "570.133.20", "12.8"


def describe(index: int, gpu: dict[str, str]) -> dict[str, str]:
    """The fields that can be queried, by their names."""
    uuid = f"GPU-00000000-0000-4000-8000-{index:012d}"
    return {
        **{
            "index": str(index),
            "count": gpu["count"],
            "name": gpu["name"],
            "gpu_name": gpu["name"],
        },
        **{"uuid": uuid, "gpu_uuid": uuid, "driver_version": DRIVER, "pstate": "P8"},
        **{"memory.total": f"{gpu['memory_mib']} MiB", "memory.used": "1 MiB"},
        **{"memory.free": f"{int(gpu['memory_mib']) - 1} MiB", "utilization.gpu": "0 %"},
        **{"utilization.memory": "0 %", "temperature.gpu": "31", "power.draw": "12.00 W"},
        **{"power.limit": "130.00 W", "compute_cap": gpu["compute_cap"], "pci.bus_id": f"0{index}"},
    }


def query(fields: Sequence[str], options: Sequence[str]) -> int:
    """What --query-gpu prints."""
    rows = [describe(index, gpu) for index, gpu in enumerate(json.loads(GPUS.read_text()))]
    for field in fields:
        if field not in rows[0]:
            print(f'Field "{field}" is not a valid field to query.')
            return 2
    if "noheader" not in options:
        print(", ".join(fields))
    for row in rows:
        bare = "nounits" in options
        print(
            ", ".join(
                row[field].split(" ")[0] if _has_unit(field) and bare else row[field]
                for field in fields
            )
        )
    return 0


def _has_unit(field: str) -> bool:
    return field.startswith(("memory.", "utilization.", "power."))


def smi(words: Sequence[str]) -> int:
    """nvidia-smi."""
    values = dict(word.partition("=")[::2] for word in words)
    if fields := values.get("--query-gpu"):
        if "--format" not in values:
            print('"--format=" switch is missing.')
            return 2
        return query(
            [field.strip() for field in fields.split(",")], values.get("--format", "").split(",")
        )
    gpus = json.loads(GPUS.read_text())
    if "-L" in words or "--list-gpus" in words:
        for index, gpu in enumerate(gpus):
            print(f"GPU {index}: {gpu['name']} (UUID: {describe(index, gpu)['uuid']})")
        return 0
    line = "+" + "-" * 78 + "+"
    print(
        f"{line}\n| NVIDIA-SMI {DRIVER}   Driver Version: {DRIVER}   CUDA Version: {CUDA} |\n{line}"
    )
    for index, gpu in enumerate(gpus):
        print(f"| {index}  {gpu['name']}  |  1MiB / {gpu['memory_mib']}MiB |")
    print(line)
    return 0


def ctk(words: Sequence[str]) -> int:
    """nvidia-ctk."""
    output = dict(word.partition("=")[::2] for word in words).get("--output")
    if "--output" in words:
        output = words[words.index("--output") + 1]
    if list(words[:2]) == ["cdi", "list"]:
        print("\n".join(f"nvidia.com/gpu={name}" for name in _names()))
        return 0
    if list(words[:2]) == ["cdi", "generate"]:
        text = json.dumps(_make_spec(), indent=1)
        if not output:
            print(text)
            return 0
        Path(output).parent.mkdir(parents=True, exist_ok=True)
        Path(output).write_text(text)
    print(f"level=info {' '.join(words)}", file=sys.stderr)
    return 0


def _names() -> list[str]:
    return [*map(str, range(len(json.loads(GPUS.read_text())))), "all"]


def _make_spec() -> dict[str, object]:
    devices = [
        {"name": name, "containerEdits": {"env": [f"SEGAWAY_FAKE_GPU={name}"]}} for name in _names()
    ]
    edits = {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}
    return {
        **{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices},
        "containerEdits": edits,
    }


if __name__ == "__main__":
    is_smi = os.path.basename(sys.argv[0]) == "nvidia-smi"
    sys.exit((smi if is_smi else ctk)(sys.argv[1:]))
