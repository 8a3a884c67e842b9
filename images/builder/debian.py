"""The Debian part of a root: mmdebstrap, from the mirror that this machine itself uses.

apt answers what the mirror is, so both formats of its source lists, disabled entries and options
are understood as apt understands them. Package signatures are checked by apt inside mmdebstrap.
"""

import os
import platform

from .failure import Failure, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Transport settings of this machine's apt that the build needs too (a proxy, a clock that is off).
APT_KEEP = ("Acquire::http::", "Acquire::https::", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv")
# Later package operations inside the image obey these as well: they stay in /etc/dpkg/dpkg.cfg.d.
DPKG_EXCLUDES = "".join(
    f"path-exclude=/usr/share/{folder}/*\n" for folder in ("man", "doc", "locale", "info", "lintian", "bug", "groff")
) + "path-include=/usr/share/doc/*/copyright\npath-include=/usr/share/locale/locale.alias\n"


def sources(suite):
    """Source lines for suite and its security updates, at this machine's own Debian mirrors.

    --no-release-info: the answer must not depend on whether this machine has read its index yet.
    """
    release = platform.freedesktop_os_release()
    own = release.get("VERSION_CODENAME", "")
    listing = run("read the package sources of this machine", [
        "apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages"])
    entries = [line.split() for line in listing.splitlines() if len(line.split()) == 3]
    if release.get("ID") != "debian":
        entries = []

    def mirrors(releases):
        return [uri for uri, name, part in entries if part == "main" and name in releases][:1]

    main = mirrors({own, "stable", "oldstable", "testing", "sid", "unstable"})
    if not main:
        raise Failure("this machine's package sources name no Debian mirror (apt-get indextargets shows them)")
    security = mirrors({f"{own}-security", "stable-security", "oldstable-security"})
    return [f"deb {main[0]} {suite} main"] + [f"deb {uri} {suite}-security main" for uri in security]


def apt_settings():
    dump = run("read apt's settings", ["apt-config", "dump"])
    kept = [line for line in dump.splitlines() if line.startswith(APT_KEEP) and not line.endswith(' "";')]
    return "\n".join([*kept, 'APT::Install-Recommends "0";', 'Acquire::Languages "none";', ""])


def bootstrap(recipe, root, work):
    """Fill root (a folder that does not exist yet) with the recipe's Debian packages."""
    if not os.path.exists(KEYRING):
        raise Failure(f"{KEYRING} is missing (package debian-archive-keyring)")
    (work / "apt.conf").write_text(apt_settings())
    (work / "dpkg.cfg").write_text(DPKG_EXCLUDES)
    env = {**os.environ, "LC_ALL": "C", "TMPDIR": str(work), "SOURCE_DATE_EPOCH": str(recipe.epoch),
           "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    # In namespaces of its own: killed at any moment, it leaves no mount and no process behind.
    run("install Debian packages", [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "mmdebstrap", "--mode=root", "--format=directory", "--variant=essential",
        "--include=" + ",".join(recipe.debian["packages"]), f"--keyring={KEYRING}",
        # Java's installation fails without this folder; rootfs.clean takes it out again.
        '--setup-hook=mkdir -p "$1/usr/share/man/man1"',
        f"--aptopt={work / 'apt.conf'}", f"--dpkgopt={work / 'dpkg.cfg'}",
        recipe.debian["suite"], root, *sources(recipe.debian["suite"])], env=env)
