"""Images that try to lead the set-up astray (hardening L04, L05, L08, L26)."""

import os
import subprocess


def tree_digest(folder):
    listing = subprocess.run(["tar", "-C", folder, "--sort=name", "--numeric-owner", "-cf", "-", "."],
                             capture_output=True, check=True).stdout
    return subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout


def replace_by_link(root, name, target):
    (root / name).rmdir()
    (root / name).symlink_to(target)


def test_L04_dev_is_a_link(make_image, server, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    make_image("dev-link", lambda root: replace_by_link(root, "dev", outside))
    answer = server.try_create("dev-link")
    assert answer.status_code == 500 and "mount dev" in answer.json()["message"]
    assert list(outside.iterdir()) == []


def test_L04_dev_null_of_the_image_is_not_used(make_image, server):
    def change(root):
        (root / "dev/null").write_text("from the image")
        (root / "dev/pts").symlink_to("/etc")
        (root / "dev/shm").symlink_to("/etc")

    box = server.create(make_image("dev-null", change))
    assert box.run("cat /dev/null; ls /dev/shm; wc -c < /proc/interrupts").stdout.strip() == "0"
    assert box.run("stat -c %t:%T /dev/null /proc/interrupts").stdout.split() == ["1:3", "1:3"]
    box.delete()


def test_L05_proc_is_a_link(make_image, server):
    make_image("proc-link", lambda root: replace_by_link(root, "proc", "/etc"))
    answer = server.try_create("proc-link")
    assert answer.status_code == 500 and "mount proc" in answer.json()["message"]


def test_L05_proc_of_the_image_is_covered(make_image, server):
    def change(root):
        (root / "proc/sys").symlink_to("/etc")
        (root / "proc/self").mkdir()
        (root / "proc/self/status").write_text("Uid: forged\n")

    box = server.create(make_image("proc-files", change))
    assert "forged" not in box.run("cat /proc/self/status").stdout
    assert box.run("stat -f -c %T /proc").stdout.strip() in ("proc", "UNKNOWN")
    box.delete()


def test_L08_links_at_every_target(make_image, server, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "hosts").write_text("untouched")

    def change(root):
        (root / "etc/hosts").symlink_to(outside / "hosts")
        (root / "etc/hostname").symlink_to("../../../../../../../../" + str(outside / "hostname"))
        (root / "opt").rmdir()
        (root / "opt").symlink_to("../../../var")

    box = server.create(make_image("links", change))
    assert (outside / "hosts").read_text() == "untouched"
    assert os.listdir(outside) == ["hosts"]
    assert "localhost" in box.run("cat /etc/hosts").stdout
    assert box.run("cat /etc/hostname").stdout.strip() == box.id
    assert box.run("ls /var/opensandbox").stdout.strip() == "execd"
    box.delete()


def test_L08_a_link_out_of_the_root(make_image, server, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    make_image("out", lambda root: replace_by_link(root, "opt", outside))
    answer = server.try_create("out")
    assert answer.status_code == 500 and "opt/opensandbox/execd" in answer.json()["message"]
    assert list(outside.iterdir()) == []


def test_L08_fifo_and_folder_at_targets(make_image, server):
    def change(root):
        os.mkfifo(root / "etc/hosts")
        (root / "opt/opensandbox").mkdir()
        os.mkfifo(root / "opt/opensandbox/execd")

    box = server.create(make_image("fifo", change))
    assert box.run("echo fine").stdout == "fine\n"
    box.delete()
    make_image("folder", lambda root: (root / "opt/opensandbox/execd").mkdir(parents=True))
    answer = server.try_create("folder")
    assert answer.status_code == 500 and "opt/opensandbox/execd" in answer.json()["message"]


def test_L26_the_image_is_never_changed(make_image, server):
    name = make_image("pristine")
    before = {p: tree_digest(p) for p in (server.state / "images").glob("sha256-*/rootfs")}
    box = server.create(name)
    box.run("rm -rf /bin/ls /etc; mkdir /etc; echo changed > /bin/probe; chmod 777 /var; "
            "setfattr -n user.overlay.redirect -v /../../../../etc /var; mv /root /moved; ln /bin/busybox /bin/again; true")
    assert box.run("cat /bin/probe").stdout == "changed\n"
    second = server.create(name)
    assert second.run("ls -d /root /etc/passwd").code == 0
    box.delete()
    second.delete()
    assert {p: tree_digest(p) for p in (server.state / "images").glob("sha256-*/rootfs")} == before


def test_L26_overlay_marks_of_the_image_are_inert(make_image, server):
    """Marks in a layer would make overlayfs follow paths of the image's choice."""

    def change(root):
        (root / "var/trap").mkdir()
        for name, value in (("user.overlay.redirect", b"/../../../../etc"), ("trusted.overlay.redirect", b"/etc"),
                            ("user.overlay.opaque", b"y")):
            os.setxattr(root / "var/trap", name, value)

    box = server.create(make_image("marks", change))
    assert box.run("ls -A /var/trap").stdout == ""
    box.delete()
