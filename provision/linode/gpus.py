"""What Linode's GPUs are: the API tells how many a plan has, and neither name nor memory.

Sources: the plans' ids and labels in the API; memory from NVIDIA's data sheets of the Quadro RTX
6000 (24 GB), the RTX 4000 Ada Generation (20 GB) and the RTX PRO 6000 Blackwell Server Edition
(96 GB). Speed classes are ours, by generation: Turing, Ada, Blackwell.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU of a plan."""

    name: str
    vram_gib: int
    speed: str


# By what the plan's id begins with.
KNOWN = {
    "g1-gpu-rtx6000-": Gpu("Quadro RTX 6000", 24, "older"),
    "g2-gpu-rtx4000a": Gpu("RTX 4000 Ada", 20, "mid"),
    "g3-gpu-rtxpro6000-blackwell-": Gpu("RTX PRO 6000 Blackwell", 96, "fast"),
}


def find_gpu(plan: str) -> Gpu | None:
    """The GPU of the plan with that id; None for one that came after this table."""
    return next((gpu for prefix, gpu in KNOWN.items() if plan.startswith(prefix)), None)
