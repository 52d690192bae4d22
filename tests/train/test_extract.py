"""Archives in, files out, and nothing anywhere else."""

import io
import os
import signal
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from train.data import extract as module
from train.data import writer
from train.data.extract import extract_archive, survey_archive
from train.errors import DataError

FILES = {"a/one.txt": b"1", "a/b/two.bin": b"22" * 1000, "three": b""}


def make_tar(path: Path, mode: Any, members: list[tarfile.TarInfo] | None = None) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_000_000_000
            tar.addfile(info, io.BytesIO(content))
        for info in members or []:
            tar.addfile(info)
    return path


def make_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


def make_folder(path: Path) -> Path:
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def read_all(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != module.MARK)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip", "folder"])
def test_every_kind_gives_its_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    if kind == "zip":
        make_zip(path)
    elif kind == "folder":
        make_folder(path)
    else:
        make_tar(path, "w:" + kind.partition(".")[2])
    done = extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES
    assert (done.files, done.size_bytes) == survey_archive(path)


def test_a_second_call_finds_it_done(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    assert not extract_archive(path, tmp_path / "out").done_before
    assert extract_archive(path, tmp_path / "out").done_before


def test_an_interrupted_extraction_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    write, written = writer._write_file, list[str]()

    def write_one_then_die(to: Any, member: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(member.name)
        write(to, member)

    monkeypatch.setattr(writer, "_write_file", write_one_then_die)
    with pytest.raises(KeyboardInterrupt):
        extract_archive(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    first = tmp_path / "out.partial" / written[0]
    kept = first.stat().st_ino
    monkeypatch.undo()
    extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES
    assert (tmp_path / "out" / written[0]).stat().st_ino == kept


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (entry("../evil"), "points outside"),
        (entry("a/../../evil"), "points outside"),
        (entry("/etc/evil"), "points outside"),
        (entry("C:/evil"), "points outside"),
        (entry("link", tarfile.SYMTYPE, "../../etc"), "link that leaves"),
        (entry("link", tarfile.SYMTYPE, "/etc/passwd"), "link that leaves"),
        (entry("hard", tarfile.LNKTYPE, "../evil"), "link that leaves"),
        (entry("null", tarfile.CHRTYPE), "device"),
        (entry("pipe", tarfile.FIFOTYPE), "device"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_what_could_leave_the_target_is_refused(
    tmp_path: Path, bad: tarfile.TarInfo, why: str
) -> None:
    path = make_tar(tmp_path / "data.tar", "w", [bad])
    with pytest.raises(DataError, match=why) as caught:
        extract_archive(path, tmp_path / "out")
    assert bad.name in str(caught.value)
    assert "Do not trust" in caught.value.fix
    assert not (tmp_path / "out").exists()
    assert not read_all(tmp_path / "out.partial")


def test_a_link_inside_stays(tmp_path: Path) -> None:
    link = entry("a/again", tarfile.SYMTYPE, "one.txt")
    extract_archive(make_tar(tmp_path / "d.tar", "w", [link]), tmp_path / "out")
    assert (tmp_path / "out/a/again").read_bytes() == b"1"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_cut_archive_is_named(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"cut.{kind}"
    _ = make_zip(path) if kind == "zip" else make_tar(path, "w:" + kind.partition(".")[2])
    whole = path.read_bytes()
    end = len(whole) if kind != "tar" else 512 * 8
    path.write_bytes(whole[: int(end * share)])
    with pytest.raises(DataError, match=r"cut\..* is corrupt") as caught:
        extract_archive(path, tmp_path / "out")
    assert "Download the archive again" in caught.value.fix
    assert not (tmp_path / "out").exists()


def test_an_archive_that_does_not_fit_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(DataError, match=r"needs .* GiB or more, and .* has room for"):
        extract_archive(path, tmp_path / "out")
    assert not read_all(tmp_path / "out.partial")


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_is_refused_and_nothing_of_it_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(module, "FREE_BYTES", 2**16)
    zeros, path = bytes(2**24), tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("small", b"1")
            archive.writestr("large", zeros)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in (("small", b"1"), ("large", zeros)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match="would unpack to more than") as caught:
        extract_archive(path, tmp_path / "out")
    assert "Do not trust" in caught.value.fix
    assert not read_all(tmp_path / "out.partial")


def test_a_tar_whose_first_member_has_more_headers_is_read(tmp_path: Path) -> None:
    make_folder(tmp_path / "files")
    with tarfile.open(tmp_path / "d.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        # Its times have fractions: that takes a header of its own.
        tar.add(tmp_path / "files", ".")
    extract_archive(tmp_path / "d.tar", tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_all_formats_are_read_as_the_library_reads_them(tmp_path: Path, kind: int) -> None:
    """Long names, names that are no ASCII, empty files, folders, links, and large numbers."""
    names = ["a", "ü/é.txt", "d" * 60 + "/" + "e" * 80, "x/" * 40 + "y", "empty", "z/b"]
    with tarfile.open(tmp_path / "d.tar", "w", format=kind) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            content = b"" if name == "empty" else bytes([number]) * (number * 300 + 1)
            info.size, info.mtime = len(content), 1_000_000_000 + number
            tar.addfile(info, io.BytesIO(content))
        tar.addfile(entry("folder", tarfile.DIRTYPE))
        hard = entry("hard", tarfile.LNKTYPE, "a")
        hard.mtime = 1_000_000_000
        tar.addfile(hard)
        tar.addfile(entry("soft", tarfile.SYMTYPE, "a"))
    extract_archive(tmp_path / "d.tar", tmp_path / "ours")
    with tarfile.open(tmp_path / "d.tar") as tar:
        tar.extractall(tmp_path / "theirs", filter="data")
    assert read_all(tmp_path / "ours") == read_all(tmp_path / "theirs")
    for path in (tmp_path / "theirs").rglob("*"):
        ours = tmp_path / "ours" / path.relative_to(tmp_path / "theirs")
        assert (ours.is_dir(), ours.is_symlink()) == (path.is_dir(), path.is_symlink())
        if path.is_file() and not path.is_symlink():
            assert int(ours.stat().st_mtime) == int(path.stat().st_mtime)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path, method: int) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("one.txt", b"0123456789" * 100)
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.zip is corrupt"):
        extract_archive(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_many_files_in_many_batches(tmp_path: Path) -> None:
    wanted = {f"{n % 7}/{n}": bytes([n % 256]) * (n % 50) for n in range(700)}
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as tar:
        for name, content in wanted.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    seen: list[int] = []
    done = extract_archive(tmp_path / "d.tar.gz", tmp_path / "out", lambda n, _: seen.append(n))
    assert read_all(tmp_path / "out") == wanted
    assert (done.files, seen[-1]) == (700, 700)
    assert seen == sorted(seen)


def test_a_file_takes_the_place_of_a_link_and_does_not_follow_it(tmp_path: Path) -> None:
    link, file = entry("three", tarfile.SYMTYPE, "a/one.txt"), entry("three")
    extract_archive(make_tar(tmp_path / "d.tar", "w", [link, file]), tmp_path / "out")
    assert (tmp_path / "out/a/one.txt").read_bytes() == b"1"
    assert not (tmp_path / "out/three").is_symlink()


def pack(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


AROUND = [
    (entry("d", tarfile.DIRTYPE), b""),
    (entry("d/up", tarfile.SYMTYPE, ".."), b""),
]
FROM_HERE_OUT = [(entry("out", tarfile.SYMTYPE, "d/up/../victim"), b"")]


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize(
    "members",
    [
        [*AROUND, *FROM_HERE_OUT],
        [*FROM_HERE_OUT, *AROUND],
        [*AROUND, *FROM_HERE_OUT, (entry("hard", tarfile.LNKTYPE, "out/secret"), b"")],
        [*AROUND, *FROM_HERE_OUT, (entry("out/secret"), b"PWNED")],
        [
            *AROUND,
            (entry("x", tarfile.SYMTYPE, "d"), b""),
            (entry("x/a"), b"1"),
            (entry("x", tarfile.SYMTYPE, "d/up/../victim"), b""),
            (entry("x/secret"), b"PWNED"),
        ],
        [
            (entry("x/y/z/f"), b"1"),
            (entry("x/y/z/s", tarfile.SYMTYPE, "../../.."), b""),
            (entry("t", tarfile.SYMTYPE, "x/y/z/s/.."), b""),
            (entry("t/victim/secret", tarfile.SYMTYPE, "f"), b""),
        ],
    ],
    ids=["link", "link first", "hard link", "through it", "link changed", "link through link"],
)
def test_links_that_lead_out_one_after_the_other_are_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]], kind: str
) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/secret").write_bytes(b"mine")
    path = pack(tmp_path / f"d.{kind}", [(entry("ok"), b"1"), *members])
    with pytest.raises(DataError) as caught:
        extract_archive(path, tmp_path / "to")
    assert "Do not trust" in caught.value.fix
    assert read_all(tmp_path / "victim") == {"secret": b"mine"}
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_of_one_name_the_last_member_is_taken(tmp_path: Path, kind: str) -> None:
    """As `tar -r` leaves it; large enough for several writers."""
    first, second = b"A" * 300_000, b"B" * 200_000
    members = [(entry(name), content) for content in (first, second) for name in "abcd"]
    extract_archive(pack(tmp_path / f"d.{kind}", members), tmp_path / "out")
    assert read_all(tmp_path / "out") == dict.fromkeys("abcd", second)


def test_a_file_that_takes_the_place_of_a_hard_link_leaves_the_other_name(tmp_path: Path) -> None:
    members = [
        (entry("a"), b"first"),
        (entry("b", tarfile.LNKTYPE, "a"), b""),
        (entry("b"), b"second"),
    ]
    extract_archive(pack(tmp_path / "d.tar", members), tmp_path / "out")
    assert read_all(tmp_path / "out") == {"a": b"first", "b": b"second"}


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "sheet.zip").read_bytes()
    path = pack(tmp_path / "d.tar", [(entry("one"), b"1"), (entry("sheet.xlsx"), inner)])
    extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == {"one": b"1", "sheet.xlsx": inner}


def test_a_hard_link_to_itself_is_the_file(tmp_path: Path) -> None:
    """As tar writes it where a file with two names is named twice."""
    members = [(entry("a"), b"1"), (entry("a", tarfile.LNKTYPE, "a"), b"")]
    extract_archive(pack(tmp_path / "d.tar", members), tmp_path / "out")
    assert read_all(tmp_path / "out") == {"a": b"1"}


def test_a_file_that_windows_marked_as_a_folder_is_a_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = 0o100644 << 16 | 0x10
        archive.writestr(info, b"1")
    extract_archive(tmp_path / "d.zip", tmp_path / "out")
    assert read_all(tmp_path / "out") == {"a.png": b"1"}


def test_a_link_as_long_as_a_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, b"a" * 10_000)
    with pytest.raises(DataError, match="link is a link of 10000 bytes"):
        extract_archive(tmp_path / "d.zip", tmp_path / "out")


def test_a_time_beyond_all_calendars_is_damage(tmp_path: Path) -> None:
    info = entry("a")
    info.mtime = 2**70
    with tarfile.open(tmp_path / "d.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b""))
    with pytest.raises(DataError, match=r"d\.tar is corrupt"):
        extract_archive(tmp_path / "d.tar", tmp_path / "out")


def test_what_was_written_before_counts_as_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tar(tmp_path / "data.tar.gz", "w:gz")
    monkeypatch.setattr(module, "MARGIN_BYTES", 0)
    sizes = sum(len(content) for content in FILES.values())
    usage = SimpleNamespace(free=sizes - 100)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(DataError, match="has room for"):
        extract_archive(path, tmp_path / "out")
    usage.free = 2000
    extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES


def test_what_another_archive_began_is_not_continued(tmp_path: Path) -> None:
    left = tmp_path / "out.partial"
    left.mkdir()
    (left / module.MARK).write_text('{"source": ["older.tar", 1, 2]}')
    (left / "gone").write_text("of the older one")
    extract_archive(make_tar(tmp_path / "data.tar", "w"), tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES


def test_a_folder_that_no_extraction_left_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial/mine").write_bytes(b"mine")
    with pytest.raises(DataError, match="no extraction has left it") as caught:
        extract_archive(make_tar(tmp_path / "data.tar", "w"), tmp_path / "out")
    assert "another --to" in caught.value.fix
    assert read_all(tmp_path / "out.partial") == {"mine": b"mine"}


def test_a_zip_without_times_and_with_folders_of_windows_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        folder = zipfile.ZipInfo("set\\")
        folder.external_attr = 0x10
        archive.writestr(folder, b"")
        archive.writestr("set\\one.txt", b"1")
    content = (tmp_path / "d.zip").read_bytes()
    for mark, place in ((b"PK\x01\x02", 12), (b"PK\x03\x04", 10)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content = content[: at + place] + bytes(4) + content[at + place + 4 :]
    (tmp_path / "d.zip").write_bytes(content)
    extract_archive(tmp_path / "d.zip", tmp_path / "out")
    assert read_all(tmp_path / "out") == {"set/one.txt": b"1"}


def test_times_before_1970_and_names_with_colons_are_read(tmp_path: Path) -> None:
    info = entry("2021-05-01T12:30:00.jpg")
    info.mtime = -1000
    with tarfile.open(tmp_path / "d.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b""))
    extract_archive(tmp_path / "d.tar", tmp_path / "out")
    assert (tmp_path / "out/2021-05-01T12:30:00.jpg").stat().st_mtime == -1000


def test_names_of_older_systems_are_read_as_these_wrote_them(tmp_path: Path) -> None:
    name, other, link = (
        raw.decode("utf-8", "surrogateescape")
        for raw in (b"f\xfcr/\xe9t\xe9", b"\xb0\x81", b"\xb0\x8d")
    )
    members = [(entry(name), b"1"), (entry(other), b"2"), (entry(link, tarfile.LNKTYPE, name), b"")]
    extract_archive(pack(tmp_path / "d.tar", members), tmp_path / "out")
    assert read_all(tmp_path / "out") == {"für/été": b"1", "°\x81": b"2", "°\x8d": b"1"}


@pytest.mark.parametrize(
    ("head", "what", "fix"),
    [
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive", "Unpack it yourself"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it yourself"),
        (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "Unpack it yourself"),
        (b"\n<!DOCTYPE html><html>", "a web page", "Download the archive itself"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer", "git lfs pull"),
        (b"\x89PNG\r\n\x1a\n", "a picture", "Give the folder"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(
    tmp_path: Path, head: bytes, what: str, fix: str
) -> None:
    (tmp_path / "data.tar").write_bytes(head + bytes(1000))
    with pytest.raises(DataError, match=what) as caught:
        extract_archive(tmp_path / "data.tar", tmp_path / "out")
    assert fix in caught.value.fix


def test_a_document_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("a.png,1,1,2,2,sky")
    with pytest.raises(DataError, match=r"boxes\.csv is a document") as caught:
        extract_archive(tmp_path / "boxes.csv", tmp_path / "out")
    assert "Give the folder that holds it" in caught.value.fix


def test_the_folder_in_which_one_stands_is_a_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    extract_archive(path, Path("."))
    assert read_all(tmp_path / "here") == FILES


def test_a_file_is_no_target(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    with pytest.raises(DataError, match=r"data\.tar is a file"):
        extract_archive(path, path)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FEWEST_TO_SHARE", 1)
    monkeypatch.setattr(writer, "PROCESSES", 3)


@pytest.mark.usefixtures("shared")
def test_several_processes_write_what_one_would(tmp_path: Path) -> None:
    wanted = {f"{n % 7}/{n}": bytes([n % 256]) * (n * 37 % 5000) for n in range(500)}
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in wanted.items():
            method = zipfile.ZIP_BZIP2 if name.endswith("9") else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, method)
    seen: list[int] = []
    done = extract_archive(tmp_path / "d.zip", tmp_path / "out", lambda n, _: seen.append(n))
    assert read_all(tmp_path / "out") == wanted
    assert (done.files, seen[-1]) == (500, 500)
    assert seen == sorted(seen)


@pytest.mark.usefixtures("shared")
def test_what_goes_wrong_in_a_process_is_said(tmp_path: Path) -> None:
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20):
            archive.writestr(f"{number}", bytes([number]) * 100)
    path.write_bytes(path.read_bytes().replace(bytes([19]) * 100, bytes([20]) * 100))
    with pytest.raises(DataError, match=r"d\.zip is corrupt .*19 is damaged"):
        extract_archive(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("broken", ["fork", "write"])
def test_processes_leave_nothing_when_one_of_them_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path, fork, calls = make_zip(tmp_path / "d.zip"), os.fork, list[int]()

    def fail_second() -> int:
        calls.append(1)
        if len(calls) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device", "there")

    before = sorted(os.listdir("/proc/self/fd"))
    if broken == "fork":
        monkeypatch.setattr("os.fork", fail_second)
    else:
        monkeypatch.setattr(writer, "_write_file", fail)
    with pytest.raises(DataError, match=r"Resource temporarily|there: No space left"):
        extract_archive(path, tmp_path / "out")
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.usefixtures("shared")
def test_a_process_that_is_killed_leaves_nothing_that_passes_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    write, here = writer._write_file, os.getpid()

    def die(to: Any, member: Any) -> None:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        write(to, member)

    monkeypatch.setattr(writer, "_write_file", die)
    with pytest.raises(DataError, match="was killed") as caught:
        extract_archive(path, tmp_path / "out")
    assert "Repeat the command" in caught.value.fix
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == FILES


def test_a_target_with_something_else_is_left_alone(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "data.tar", "w")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(DataError, match="does not come from"):
        extract_archive(path, tmp_path / "out")
    assert read_all(tmp_path / "out") == {"mine": b"mine"}


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.tar does not exist"):
        extract_archive(tmp_path / "nowhere.tar", tmp_path / "out")
