"""The trainer in a container of podman's, which needs no daemon.

Its storage lies on the volume: the next node that has the volume has the images, too. What must not
outlive a restart of the node lies below /run.
"""

import hashlib

from remote.containers import ContainerEngine, Dialect
from remote.engines import JobSpec
from remote.errors import JobError
from remote.host import Host

# Where the Container Device Interface looks for what the driver offers to containers.
CDI_PROBE = "grep -qs nvidia.com/gpu /etc/cdi/* /var/run/cdi/*"
CDI_FIX = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


class PodmanEngine(ContainerEngine):
    """The promises of `Engine`, with podman."""

    program = "podman"

    def dialect(self, spec: JobSpec) -> Dialect:
        # One run folder per volume: podman refuses one that belongs to another storage.
        name = f"segaway/{hashlib.sha256(spec.root.encode()).hexdigest()[:8]}"
        fleeting = f"/run/user/{spec.uid}/{name}" if spec.uid else f"/run/{name}"
        return Dialect(
            head=[
                *("podman", "--root", f"{spec.root}/.segaway/containers"),
                *("--runroot", f"{fleeting}/storage", "--tmpdir", f"{fleeting}/libpod"),
            ],
            # Without root, our own user on the node is the trainer's in the container.
            user_flags=["--userns", "keep-id"] if spec.uid else [],
            gpu_flags=["--device", "nvidia.com/gpu=all", "--security-opt", "label=disable"],
            log_driver="k8s-file",
        )

    def check(self, host: Host, spec: JobSpec) -> None:
        super().check(host, spec)
        if spec.gpus and host.run(["sh", "-c", CDI_PROBE]).code:
            raise JobError(
                f"podman on {host.address} has no CDI specification of the GPU: a container "
                "would not see it.",
                fix=f"segaway ssh RUN -- {CDI_FIX}, then segaway run --resume RUN.",
            )


engine = PodmanEngine()
