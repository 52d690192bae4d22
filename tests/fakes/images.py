"""The image that containers of the test bed start from: this interpreter, and nothing to download.

It is made once a machine and interpreter, into a folder that each node has as a second, read-only
image store. It is lean: what is installed beside this interpreter (torch too) is mounted at
`SITE_PACKAGES` in every container, and found there through a .pth file: what a container imports
first are its own files.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

NAME = "localhost/segaway-base:latest"
# Commands of the node that go before the system's.
WRAPPERS = "/opt/segaway-bed/bin"
SITE_PACKAGES = "/opt/site-packages"
TOOLS = ("sh", "cat", "env", "id", "ls", "mkdir", "sleep", "true")
# What extension modules load that no binary here is linked to.
LIBRARIES = (
    *("libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "librt.so.1", "libpthread.so.0"),
    *("libdl.so.2", "libutil.so.1", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2"),
)
SKIPPED = ("test", "site-packages", "dist-packages", "idlelib", "ensurepip", "turtledemo")
PASSWD = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n"
SETTINGS = f"""\
[containers]
default_ulimits=["nofile=4096:4096","nproc=8192:8192"]
env=["OMP_NUM_THREADS=1"]
volumes=["{sysconfig.get_paths()["purelib"]}:{SITE_PACKAGES}:ro"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
[network]
network_backend="netavark"
"""


def make_settings(store: Path) -> dict[str, str]:
    """The files on a node that make podman work there, and know the image."""
    storage = f"""\
[storage]
driver="overlay"
graphroot="/var/lib/containers/storage"
runroot="/run/containers/storage"
[storage.options]
additionalimagestores=["{store}"]
"""
    return {
        "/etc/containers/containers.conf": SETTINGS,
        "/etc/containers/storage.conf": storage,
        # With a --root of its own, podman forgets the second store.
        f"{WRAPPERS}/podman": "#!/bin/sh\n"
        f'exec /usr/bin/podman --storage-opt overlay.imagestore={store} "$@"\n',
        "/etc/containers/policy.json": '{"default": [{"type": "insecureAcceptAnything"}]}\n',
    }


def ensure_image() -> Path:
    """The image store with the image in it."""
    key = f"{sys.version} {sys.base_prefix} {Path(__file__).read_text()}"
    name = f"segaway-bed-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    folder = Path(tempfile.gettempdir()) / name
    store = folder / "store"
    if store.exists():
        return store
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        if not store.exists():
            _make_store(folder, store)
    return store


def _make_store(folder: Path, store: Path) -> None:
    partial, tar, settings = folder / "partial", folder / "base.tar", folder / "containers.conf"
    shutil.rmtree(partial, ignore_errors=True)
    settings.write_text(SETTINGS)
    with tarfile.open(tar, "w") as archive:
        _add_files(archive)
    command = ["podman", "--root", str(partial), "--runroot", str(folder / "run"), "import"]
    # A mount namespace of its own: podman leaves a mount behind that nobody would remove.
    done = subprocess.run(
        ["unshare", "-m", *command, "--change", "ENV PATH=/usr/local/bin:/bin", str(tar), NAME],
        env={"PATH": os.environ["PATH"], "CONTAINERS_CONF": str(settings), "HOME": "/root"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise OSError(f"podman import: {done.stderr}")
    tar.unlink()
    partial.rename(store)


def _add_files(archive: tarfile.TarFile) -> None:
    python = Path(os.path.realpath(sys.executable))
    paths = sysconfig.get_paths()
    library = f"usr/local/lib/{Path(paths['stdlib']).name}"
    archive.add(python, f"usr/local/bin/{python.name}", filter=_as_root)
    _add_link(archive, "usr/local/bin/python3", python.name)
    archive.add(paths["stdlib"], library, filter=_as_root)
    for folder in ("site-packages", "dist-packages"):
        _add_text(archive, f"{library}/{folder}/bed.pth", f"{SITE_PACKAGES}\n")
    tools = [path for name in TOOLS if (path := shutil.which(name, path="/bin:/usr/bin"))]
    for tool in tools:
        archive.add(os.path.realpath(tool), f"bin/{Path(tool).name}", filter=_as_root)
    modules = Path(paths["stdlib"], "lib-dynload").glob("*.so")
    for path in sorted(_find_libraries([str(python), *tools, *map(str, modules)])):
        archive.add(os.path.realpath(path), _place_library(path), filter=_as_root)
    _add_text(archive, "etc/passwd", PASSWD)
    _add_text(archive, "etc/group", "root:x:0:\nnogroup:x:65534:\n")
    for name, mode in (("tmp", 0o1777), ("root", 0o700), ("proc", 0o555), ("dev", 0o755)):
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, mode
        archive.addfile(info)


def _find_libraries(binaries: Iterable[str]) -> set[str]:
    """The shared libraries that these binaries need, the loader with them."""
    listed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False)
    found = set(re.findall(r"(/\S+\.so\S*)(?= \(0x)", listed.stdout))
    places = {os.path.dirname(path) for path in found}
    return found | {
        path for place in places for name in LIBRARIES if os.path.exists(path := f"{place}/{name}")
    }


def _place_library(path: str) -> str:
    """Where the loader of a container finds it, whoever runs there: not in somebody's home."""
    is_system = path.startswith(("/lib", "/usr/lib"))
    return path.lstrip("/") if is_system else f"usr/lib/{Path(path).name}"


def _as_root(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if set(Path(info.name).parts) & set(SKIPPED):
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _add_link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    archive.addfile(info)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    archive.addfile(info, io.BytesIO(text.encode()))
