#!/bin/bash
# Installs and upgrades the package by apt from a signed repository (cross/repository), as an owner does, in a small
# Debian of its own: tests/repository.sh PACKAGE (`make deb-test`). Needs root. The other Debian is a directory, with its
# own namespaces for mounts, processes and the network; the repository is another directory.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
arch=$(dpkg-deb --field "$package" Architecture)
work=$(mktemp -d)
# A socket's path is short, so gpg's home is too.
GNUPGHOME=$(mktemp -d /tmp/gpg.XXXXXX)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf --one-file-system "$work" "$GNUPGHOME"' EXIT

fail() { echo "repository: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "installing it needs root: sudo $0 $1"

debian=target/debian/bookworm-$arch.tar
mkdir -p target/debian "$work/root"
[ -e "$debian" ] || mmdebstrap --quiet --variant=minbase --include=systemd,iproute2 bookworm "$debian"
tar --extract --file "$debian" --directory "$work/root" --exclude './dev/*'
mknod -m 666 "$work/root/dev/null" c 1 3

gpg --batch --quiet --passphrase '' --quick-gen-key test@example.invalid ed25519
# The next version differs in its number alone.
dpkg-deb --raw-extract "$package" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/next" "$work/next.deb" >/dev/null
version=$(dpkg-deb --field "$package" Version)

inside() {
  unshare --mount --net --pid --fork --mount-proc="$work/root/proc" -- chroot "$work/root" sh -euc "$1" \
    >"$work/said" 2>&1 || { cat "$work/said" >&2; return 1; }
}
# Only this repository: the others are not reached from here.
apt="apt-get -qq -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/portscan.list -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root"
installed() { inside "dpkg-query --show --showformat '\${Version}' portscan"; cat "$work/said"; }

cross/repository "$work/root/repository" test@example.invalid "$package" >/dev/null
mkdir -p "$work/root/usr/share/keyrings"
cp "$work/root/repository/portscan.gpg" "$work/root/usr/share/keyrings/"
echo 'deb [signed-by=/usr/share/keyrings/portscan.gpg] file:/repository stable main' \
  > "$work/root/etc/apt/sources.list.d/portscan.list"
inside "$apt update && $apt install -y portscan && portscan --version"
[ "$(installed)" = "$version" ] || fail "$(installed) is installed instead of $version"

# The owner's configuration and the database outlive an upgrade.
echo '# mine' >> "$work/root/etc/portscan/portscan.toml"
mkdir -p "$work/root/var/lib/private/portscan"
ln -s private/portscan "$work/root/var/lib/portscan"
echo data > "$work/root/var/lib/private/portscan/portscan.db"
cross/repository "$work/root/repository" test@example.invalid "$package" "$work/next.deb" >/dev/null
inside "$apt update && $apt upgrade -y"
[ "$(installed)" = "$version+next" ] || fail "the upgrade leaves $(installed)"
grep -q '# mine' "$work/root/etc/portscan/portscan.toml" || fail "the upgrade replaces the configuration"
grep -q data "$work/root/var/lib/portscan/portscan.db" || fail "the upgrade loses the database"

# What was changed after it was signed is refused, and what is installed stays.
sed -i 's/^Label: .*/Label: forged/' "$work/root/repository/dists/stable/InRelease"
if inside "$apt update -o APT::Update::Error-Mode=any" 2>/dev/null; then fail "a forged list is accepted"; fi
grep -q BADSIG "$work/said" || { cat "$work/said" >&2; fail "it does not say what is wrong with the signature"; }
[ "$(installed)" = "$version+next" ] || fail "a forged list changes what is installed"
echo "repository: apt installs $version, upgrades it, keeps configuration and database, and refuses a forged list"
