# Private package access, sourced by the fetch scripts: apt_private DIR prepares it, then
# `private_apt COMMAND...` runs apt-get against it.
#
# The machine's own package sources are copied into DIR with source packages switched on; index
# files, caches and state live there too, so neither the machine's configuration nor its index is
# touched, and root is not needed. What apt verifies (signed Release file, checksums of every
# index, package and source file) it verifies here as well: keyrings and mirrors are the machine's.

# One-line format: every enabled `deb` line becomes a `deb-src` line, too.
derive_one_line() {
    awk '$1 == "deb" { print; sub(/^[[:space:]]*deb/, "deb-src"); print }' "$@"
}

# deb822 format: the Types field of every stanza names both kinds.
derive_deb822() {
    sed -E 's/^[Tt]ypes:.*/Types: deb deb-src/' "$@"
}

apt_private() {
    apt_dir=$1
    machine=$(apt-config shell etc Dir::Etc/d)
    eval "$machine"
    : "${etc:=/etc/apt/}"

    # One user at a time: the lock is held until the calling script ends.
    mkdir -p "$apt_dir"
    exec 9>"$apt_dir/lock"
    flock 9

    mkdir -p "$apt_dir/sources.list.d" "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
    rm -f "$apt_dir"/sources.list.d/*
    for file in "$etc"/sources.list "$etc"/sources.list.d/*.list; do
        [ ! -f "$file" ] || derive_one_line "$file" >>"$apt_dir/sources.list.d/machine.list"
    done
    for file in "$etc"/sources.list.d/*.sources; do
        [ ! -f "$file" ] || derive_deb822 "$file" >"$apt_dir/sources.list.d/${file##*/}"
    done

    cat >"$apt_dir/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt_dir/sources.list.d";
Dir::State::lists "$apt_dir/lists";
Dir::Cache "$apt_dir/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
APT::Get::List-Cleanup "true";
CONF
    # Scripts that run after each other share one index.
    [ -z "$(find "$apt_dir/updated" -mmin -60 2>/dev/null)" ] || return 0
    # Another source of this machine may be down or carry no source packages: that is reported by
    # apt as a warning, and what we need is checked by the download that follows.
    echo "setup: reading the signed package index (privately, below $apt_dir)"
    private_apt update || true
    touch "$apt_dir/updated"
}

private_apt() {
    APT_CONFIG="$apt_dir/apt.conf" apt-get -q "$@"
}
