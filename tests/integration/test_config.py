"""The configuration that is shipped is the one that the program writes."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(os.environ.get("BUILD", ROOT / "build")).resolve() / "execd-server"
EXAMPLE = ROOT / "deploy/config.example.toml"


def init_config(*arguments, cwd=None):
    return subprocess.run([SERVER, "init-config", *map(str, arguments)], timeout=20, capture_output=True, text=True,
                          cwd=cwd, env={"PATH": "/usr/bin:/bin"})


def test_example_equals_init_config():
    ended = init_config()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == EXAMPLE.read_text(encoding="utf-8")


def test_init_config_to_standard_output_by_its_name(tmp_path):
    ended = init_config("-", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == EXAMPLE.read_text(encoding="utf-8")
    assert not list(tmp_path.iterdir())


def test_init_config_writes_a_private_file_and_never_overwrites(tmp_path):
    target = tmp_path / "sandbox.toml"
    assert init_config(target).returncode == 0
    assert target.read_text(encoding="utf-8") == EXAMPLE.read_text(encoding="utf-8")
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_text("mine\n", encoding="utf-8")
    again = init_config(target)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert target.read_text(encoding="utf-8") == "mine\n"


def test_E09_no_key_outside_needs_a_word(tmp_path):
    """Without an API key the server serves loopback only, however it is told to listen elsewhere."""
    config = tmp_path / "config.toml"
    config.write_text(f'[server]\nport = 0\n[runtime]\nstate_dir = "{tmp_path}/state"\n', encoding="utf-8")
    for host in ("0.0.0.0", "::", "10.1.2.3"):
        ended = subprocess.run([SERVER, "--config", config, "--host", host], timeout=20, capture_output=True, text=True,
                               env={"PATH": "/usr/bin:/bin"})
        assert ended.returncode not in (0, None) and f"refusing to listen on {host} without an API key" in ended.stderr
        assert not (tmp_path / "state").exists()


def test_the_address_is_checked_before_a_key_is_asked_for(tmp_path):
    config = tmp_path / "config.toml"
    for section, key in (('[server]\nhost = "example.org"', "server.host"), ('[enclave]\nlisten = "8000"', "enclave.listen")):
        config.write_text(f'{section}\n[runtime]\nstate_dir = "{tmp_path}/state"\n', encoding="utf-8")
        ended = subprocess.run([SERVER, "--config", config], timeout=20, capture_output=True, text=True,
                               env={"PATH": "/usr/bin:/bin"})
        assert ended.returncode == 2 and key in ended.stderr and "API key" not in ended.stderr, ended.stderr


def test_example_loads_without_a_warning(tmp_path):
    """`image ls` reads the configuration; every key of the example must be known."""
    text = EXAMPLE.read_text(encoding="utf-8").replace('"/var/lib/execd-server"', f'"{tmp_path}/state"')
    config = tmp_path / "config.toml"
    config.write_text(text, encoding="utf-8")
    ended = subprocess.run([SERVER, "--config", config, "image", "ls"], timeout=20, capture_output=True, text=True,
                           env={"PATH": "/usr/bin:/bin"})
    assert (ended.returncode, ended.stderr) == (0, "")


def image_build(tmp_path, *arguments):
    config = tmp_path / "config.toml"
    config.write_text(f'[runtime]\nstate_dir = "{tmp_path}/state"\n', encoding="utf-8")
    return subprocess.run([SERVER, "--config", config, "image", "build", *map(str, arguments)], timeout=20,
                          capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


def test_image_build_says_what_is_missing_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "failing").mkdir()
    (tmp_path / "failing/build").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "failing/build").chmod(0o755)
    for name, text in (("none", "no such folder"), ("empty", "neither rootfs.tar"), ("file", "is no folder"),
                       ("failing", "failed (see above)")):
        ended = image_build(tmp_path, tmp_path / name, "given-name")
        assert ended.returncode == 1 and text in ended.stderr, ended.stderr
        assert [entry.name for entry in (tmp_path / "state/images").iterdir() if entry.name.startswith("build.")] == []


def test_help_shows_that_an_image_may_be_given_a_name():
    ended = subprocess.run([SERVER, "--help"], timeout=20, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert "image build DIR [NAME]" in ended.stdout


def test_readme_names_every_key():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section, missing = "", []
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = header.group(1)
        elif (key := re.fullmatch(r"(?:# )?(\w+) = .*", line)) and f"`{section}.{key.group(1)}`" not in readme:
            missing.append(f"{section}.{key.group(1)}")
    assert not missing
