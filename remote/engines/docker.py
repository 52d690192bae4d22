"""The trainer in a container of Docker's."""

import json

from remote.containers import ContainerEngine, Dialect
from remote.engines import JobSpec
from remote.errors import JobError
from remote.host import Host

DIALECT = Dialect(
    head=["docker"],
    user_flags=[],
    gpu_flags=["--gpus", "all"],
    log_driver="json-file",
)
RUNTIMES = ["docker", "info", "--format", "{{json .Runtimes}}"]
TOOLKIT_FIX = "sudo nvidia-ctk runtime configure --runtime=docker"


class DockerEngine(ContainerEngine):
    """The promises of `Engine`, with Docker."""

    program = "docker"

    def dialect(self, spec: JobSpec) -> Dialect:
        return DIALECT

    def check(self, host: Host, spec: JobSpec) -> None:
        super().check(host, spec)
        result = host.run(RUNTIMES)
        if result.code:
            raise JobError(
                f"Docker's daemon on {host.address} does not answer: {result.last_words}",
                fix="segaway ssh RUN -- sudo systemctl start docker, or take --engine process.",
            )
        if spec.gpus and "nvidia" not in json.loads(result.stdout):
            raise JobError(
                f"Docker on {host.address} has no NVIDIA runtime: a container would not see the "
                "GPU.",
                fix=f"segaway ssh RUN -- {TOOLKIT_FIX}, restart docker there, then segaway run "
                "--resume RUN.",
            )


engine = DockerEngine()
