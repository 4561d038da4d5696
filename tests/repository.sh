#!/bin/bash
# Installs, upgrades, removes and purges the package by apt from a signed repository (cross/repository), as an owner
# does, and then the program of a release by its installer (cross/install.sh), in fresh Debians:
# tests/repository.sh PACKAGE [SUITE...] (`make deb-test`, `make repository-test`). Needs root.
# Each Debian is a directory with namespaces of its own for mounts, processes and the network; the repository is another
# directory. The appliance runs there, and scans the loopback of that network.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- bookworm trixie
arch=$(dpkg-deb --field "$package" Architecture)
version=$(dpkg-deb --field "$package" Version)
work=$(mktemp -d)
# A socket's path is short, so gpg's home is too.
GNUPGHOME=$(mktemp -d /tmp/gpg.XXXXXX)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf --one-file-system "$work" "$GNUPGHOME"' EXIT

fail() { echo "repository: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "installing it needs root: sudo $0 $package"

gpg --batch --quiet --passphrase '' --quick-gen-key test@example.invalid ed25519
# No package of an earlier release is kept, so the one before is this one with an earlier number (dpkg sorts a tilde
# first). What an older database becomes is tested in src/store.
before=$version~before
dpkg-deb --raw-extract "$package" "$work/before"
sed -i "s/^Version: .*/Version: $before/" "$work/before/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/before" "$work/before.deb" >/dev/null

# The release's tarball, of the package's program.
dpkg-deb --extract "$package" "$work/content"
cross/tarball "$work/release" "$version" 0 "$arch=$work/content/usr/bin/portscan"

inside() {
  unshare --mount --net --pid --fork --mount-proc="$root/proc" -- chroot "$root" sh -euc "$1" \
    >"$work/said" 2>&1 || { cat "$work/said" >&2; return 1; }
}
publish() { cross/repository "$root/repository" test@example.invalid "$@" >/dev/null; }
installed() { inside "dpkg-query --show --showformat '\${Version}' portscan"; cat "$work/said"; }
there() { local path; for path; do [ -e "$root$path" ] || [ -L "$root$path" ] || fail "$suite: $path is missing"; done; }
gone() { local path; for path; do [ ! -e "$root$path" ] && [ ! -L "$root$path" ] || fail "$suite: $path is still there"; done; }

# Only this repository: the others are not reached from here.
apt="apt-get -qq -o Dir::Etc::sourcelist=/etc/apt/sources.list.d/portscan.list -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root"
config=/etc/portscan/portscan.toml
# Runs the appliance until it has scanned its one device, whose open port is its own, and prints what it knows of it.
serve='ip link set lo up
portscan serve >/log 2>&1 &
appliance=$!
# Not before it listens: the command would read the database itself, which the appliance could not open meanwhile.
until grep -q "0100007F:0050 00000000:0000 0A" /proc/net/tcp; do
  kill -0 $appliance || { cat /log; exit 1; }
  sleep 0.2
done
for second in $(seq 120); do
  if portscan hosts --json >/hosts 2>/dev/null && grep -q "\"complete\": *true" /hosts; then break; fi
  kill -0 $appliance || { cat /log; exit 1; }
  sleep 1
done
kill $appliance
wait $appliance || { cat /log; exit 1; }
cat /hosts'
facts() { inside "$serve" && python3 -c '
import json, sys
rows = json.load(open(sys.argv[1]))
print([(row["mac"], row["first_seen"], [port["port"] for port in row["ports"]]) for row in rows])
' "$root/hosts"; }

try() {
  suite=$1
  root=$work/$suite
  local debian=target/debian/$suite-$arch.tar
  mkdir -p target/debian "$root"
  [ -e "$debian" ] || mmdebstrap --quiet --variant=minbase --include=systemd,iproute2 "$suite" "$debian"
  tar --extract --file "$debian" --directory "$root" --exclude './dev/*'
  mknod -m 666 "$root/dev/null" c 1 3

  publish "$work/before.deb"
  mkdir -p "$root/usr/share/keyrings"
  cp "$root/repository/portscan.gpg" "$root/usr/share/keyrings/"
  echo 'deb [signed-by=/usr/share/keyrings/portscan.gpg] file:/repository stable main' \
    > "$root/etc/apt/sources.list.d/portscan.list"
  inside "$apt update && $apt install -y portscan && portscan --version"
  [ "$(installed)" = "$before" ] || fail "$suite: $(installed) is installed instead of $before"

  # The owner's configuration, and what the appliance has found.
  cat > "$root$config" <<'TOML'
listen = ["127.0.0.1:80"]
[feed]
url = []
hosts = [{ address = "127.0.0.1", mac = "02:00:00:00:00:01", name = "mine" }]
[mdns]
enabled = false
[[device]]
match = "127.0.0.1"
timing = "T5"
[[scanner]]
name = "own"
interval = "1d"
ports = "1-1000"
TOML
  mkdir -p "$root/var/lib/private/portscan"
  ln -s private/portscan "$root/var/lib/portscan"
  local found
  found=$(facts)
  [[ $found == *02:00:00:00:00:01*80* ]] || fail "$suite: the appliance found $found"

  publish "$work/before.deb" "$package"
  inside "$apt update && $apt upgrade -y"
  [ "$(installed)" = "$version" ] || fail "$suite: the upgrade leaves $(installed)"
  grep -q mine "$root$config" || fail "$suite: the upgrade replaces the configuration"
  [ "$(facts)" = "$found" ] || fail "$suite: the upgrade changes $found into $(facts)"

  # What was changed after it was signed is refused, and what is installed stays.
  sed -i 's/^Label: .*/Label: forged/' "$root/repository/dists/stable/InRelease"
  if inside "$apt update -o APT::Update::Error-Mode=any" 2>/dev/null; then fail "$suite: a forged list is accepted"; fi
  grep -q 'BADSIG\|manipulated\|invalid signature\|Bad signature' "$work/said" \
    || { cat "$work/said" >&2; fail "$suite: it does not say what is wrong with the signature"; }
  [ "$(installed)" = "$version" ] || fail "$suite: a forged list changes what is installed"

  cp -r "$work/release" "$root/release"
  # As where systemd runs; systemctl knows that it does not, and starts nothing.
  mkdir -p "$root/run/systemd/system"
  local installer="SYSTEMD_OFFLINE=1 sh /release/install.sh --service /release"
  if inside "$installer" 2>/dev/null; then fail "$suite: two services are installed"; fi
  grep -q 'update it by apt' "$work/said" || { cat "$work/said" >&2; fail "$suite: it does not name the package"; }

  inside "$apt remove -y portscan"
  gone /usr/bin/portscan
  there "$config" /var/lib/private/portscan/portscan.db
  inside "$apt purge -y portscan"
  gone /etc/portscan /var/lib/portscan /var/lib/private/portscan

  inside "$installer && /usr/local/bin/portscan check-config"
  there /etc/systemd/system/multi-user.target.wants/portscan.service "$config"
  grep -q '^ExecStart=/usr/local/bin/portscan serve$' "$root/etc/systemd/system/portscan.service" \
    || fail "$suite: the installed service starts another program"
  echo '# mine' >> "$root$config"
  inside "$installer"
  grep -q '# mine' "$root$config" || fail "$suite: the installer replaces the configuration"
  echo "repository: in $suite apt installs $before, upgrades it to $version, keeps configuration and database, refuses a" \
    "forged list, removes and purges; install.sh installs the program and its service"
  rm -rf --one-file-system "$root"
}
for suite; do try "$suite"; done
