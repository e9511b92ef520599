"""Secrets and data in a place where others may have written first: checked, links not followed, refused in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local.private import (
    NotPrivate,
    check_program,
    keep_secret,
    open_private,
    private_directory,
    read_private,
    write_private,
)


def of_somebody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a place that belongs to us look as if it were somebody else's, whoever runs the tests."""
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    made = private_directory(tmp_path / "a" / "var")

    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_directory_in_which_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(mode)

    with pytest.raises(NotPrivate, match="Others may write"):
        private_directory(tmp_path / "var")


def test_a_directory_that_everybody_could_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    with pytest.raises(NotPrivate, match="Everybody may write"):
        private_directory(tmp_path / "open" / "var")


def test_a_directory_in_a_sticky_one_is_as_good_as_any(tmp_path: Path) -> None:
    (tmp_path / "like-tmp").mkdir()
    (tmp_path / "like-tmp").chmod(0o1777)

    assert private_directory(tmp_path / "like-tmp" / "var").is_dir()


def test_somebody_elses_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "var").mkdir(mode=0o755)
    of_somebody_else(tmp_path, monkeypatch)

    with pytest.raises(NotPrivate, match="belongs to user"):
        private_directory(tmp_path / "var")


def test_somebody_elses_link_is_refused_and_ones_own_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "var").symlink_to(tmp_path / "elsewhere")

    assert private_directory(tmp_path / "var").is_dir()
    if os.getuid() == 0:
        os.chown(tmp_path / "var", 65_534, 65_534, follow_symlinks=False)
    else:
        of_somebody_else(tmp_path, monkeypatch)
    with pytest.raises(NotPrivate, match="is a link that belongs"):
        private_directory(tmp_path / "var")


@pytest.mark.parametrize(
    "use",
    [
        read_private,
        lambda path: keep_secret(path, lambda: "made"),
        lambda path: open_private(path, os.O_RDWR | os.O_CREAT),
        check_program,
    ],
    ids=["read", "keep", "open", "program"],
)
@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "pipe", "link to nothing", "somebody else's"])
def test_what_was_planted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], object], kind: str
) -> None:
    other, planted = tmp_path / "other", tmp_path / "secret"
    other.write_text("known to somebody else")
    other.chmod(0o600)
    if kind == "symbolic link":
        planted.symlink_to(other)
    elif kind == "hard link":
        planted.hardlink_to(other)
    elif kind == "pipe":
        os.mkfifo(planted, 0o600)
    elif kind == "link to nothing":
        planted.symlink_to(tmp_path / "missing")
    else:
        planted.write_text("known to somebody else")
        of_somebody_else(planted, monkeypatch)

    with pytest.raises(NotPrivate):
        use(planted)
    assert other.read_text() == "known to somebody else"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_secret_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "secret", "x")
    (tmp_path / "secret").chmod(mode)

    with pytest.raises(NotPrivate, match="Others can read or write"):
        keep_secret(tmp_path / "secret", lambda: "made")


def test_a_file_that_is_written_anew_loses_its_mode_and_replaces_a_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("not ours to change")
    (tmp_path / "environment").symlink_to(tmp_path / "other")

    write_private(tmp_path / "environment", "kept")

    assert (tmp_path / "other").read_text() == "not ours to change"
    assert not (tmp_path / "environment").is_symlink()
    assert (tmp_path / "environment").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment", "other"]


def test_a_log_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    (tmp_path / "log").chmod(0o644)

    os.close(open_private(tmp_path / "log", os.O_WRONLY | os.O_APPEND))

    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    assert keep_secret(tmp_path / "secret", lambda: "first") == "first"
    assert keep_secret(tmp_path / "secret", lambda: "second") == "first"
