"""The trainer in a container of Docker's."""

import json
from typing import Any

from remote import containers
from remote.containers import Dialect
from remote.engines import JobSpec
from remote.errors import JobError
from remote.host import Host

DIALECT = Dialect(
    name="docker",
    head=["docker"],
    user_flags=[],
    gpu_flags=["--gpus", "all"],
    log_driver="json-file",
)
RUNTIMES = ["docker", "info", "--format", "{{json .Runtimes}}"]
TOOLKIT_FIX = "sudo nvidia-ctk runtime configure --runtime=docker"


class DockerEngine:
    """The promises of `Engine`, with Docker."""

    def is_there(self, host: Host, spec: JobSpec) -> bool:
        return containers.find_program(host, "docker")

    def check(self, host: Host, spec: JobSpec) -> None:
        if not self.is_there(host, spec):
            raise JobError(
                f"There is no docker on {host.address}.",
                fix="Install it there (apt-get install docker.io), or take --engine process.",
            )
        result = host.run(RUNTIMES)
        if result.code:
            last = result.stderr.strip().splitlines()[-1:] or ["it said nothing."]
            raise JobError(
                f"Docker's daemon on {host.address} does not answer: {last[0]}",
                fix="segaway ssh RUN -- sudo systemctl start docker, or take --engine process.",
            )
        if spec.gpus and "nvidia" not in json.loads(result.stdout):
            raise JobError(
                f"Docker on {host.address} has no NVIDIA runtime: a container would not see the "
                "GPU.",
                fix=f"segaway ssh RUN -- {TOOLKIT_FIX}, restart docker there, then segaway run "
                "--resume RUN.",
            )

    def ensure_image(self, host: Host, spec: JobSpec) -> bool:
        return containers.ensure_image(host, DIALECT, spec)

    def build_commands(self, spec: JobSpec) -> list[list[str]]:
        return containers.preview(DIALECT, spec)

    def build_job(self, spec: JobSpec) -> dict[str, Any]:
        return containers.build_job(DIALECT, spec)

    def list_images(self, host: Host, spec: JobSpec) -> list[containers.Image]:
        """The trainer's images on the node."""
        return containers.read_images(host, DIALECT)


engine = DockerEngine()
