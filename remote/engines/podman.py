"""The trainer in a container of podman's, which needs no daemon.

Its storage lies on the volume: the next node that has the volume has the images, too. What must not
outlive a restart of the node lies below /run.
"""

import hashlib
from typing import Any

from remote import containers
from remote.containers import Dialect
from remote.engines import JobSpec
from remote.errors import JobError
from remote.host import Host

# Where the Container Device Interface looks for what the driver offers to containers.
CDI_PROBE = "grep -qs nvidia.com/gpu /etc/cdi/* /var/run/cdi/*"
CDI_FIX = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


class PodmanEngine:
    """The promises of `Engine`, with podman."""

    def is_there(self, host: Host, spec: JobSpec) -> bool:
        return containers.find_program(host, "podman")

    def check(self, host: Host, spec: JobSpec) -> None:
        if not self.is_there(host, spec):
            raise JobError(
                f"There is no podman on {host.address}.",
                fix="Install it there (apt-get install podman), or take --engine process.",
            )
        if spec.gpus and host.run(["sh", "-c", CDI_PROBE]).code:
            raise JobError(
                f"podman on {host.address} has no CDI specification of the GPU: a container "
                "would not see it.",
                fix=f"segaway ssh RUN -- {CDI_FIX}, then segaway run --resume RUN.",
            )

    def ensure_image(self, host: Host, spec: JobSpec) -> bool:
        return containers.ensure_image(host, dialect_of(spec), spec)

    def build_commands(self, spec: JobSpec) -> list[list[str]]:
        return containers.preview(dialect_of(spec), spec)

    def build_job(self, spec: JobSpec) -> dict[str, Any]:
        return containers.build_job(dialect_of(spec), spec)

    def list_images(self, host: Host, spec: JobSpec) -> list[containers.Image]:
        """The trainer's images on the node."""
        return containers.read_images(host, dialect_of(spec))


def dialect_of(spec: JobSpec) -> Dialect:
    """Podman, with its storage on the volume `spec.root`."""
    # One per volume: podman refuses a run folder that belongs to another storage.
    name = f"segaway/{hashlib.sha256(spec.root.encode()).hexdigest()[:8]}"
    fleeting = f"/run/user/{spec.uid}/{name}" if spec.uid else f"/run/{name}"
    return Dialect(
        name="podman",
        head=[
            *("podman", "--root", f"{spec.root}/.segaway/containers"),
            *("--runroot", f"{fleeting}/storage", "--tmpdir", f"{fleeting}/libpod"),
        ],
        # Without root, our own user on the node is the trainer's in the container.
        user_flags=["--userns", "keep-id"] if spec.uid else [],
        gpu_flags=["--device", "nvidia.com/gpu=all", "--security-opt", "label=disable"],
        log_driver="k8s-file",
    )


engine = PodmanEngine()
