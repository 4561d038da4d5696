#!/bin/bash
# Installs, upgrades, removes and purges the Debian package as an owner does, in a small Debian of its own, and checks
# its contents: tests/package.sh PACKAGE (`make deb-test`). Needs root. It changes and reaches nothing of this machine:
# the other Debian is a directory, with its own namespaces for mounts, processes and the network.
set -euo pipefail
cd "$(dirname "$0")/.."

package=$(realpath "$1")
arch=$(dpkg-deb --field "$package" Architecture)
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

fail() { echo "package: $*" >&2; exit 1; }
said() { grep -q "$1" "$work/said" || { cat "$work/said" >&2; fail "it does not say: $1"; }; }

# --- The contents ----------------------------------------------------------------------------------------------

dpkg-deb --extract "$package" "$work/content"
binary=$work/content/usr/bin/portscan
size=$(stat --format %s "$binary")
# Of a release for a Pi: what is built quickly (PROFILE=quick) is half as large again.
[ "$size" -le 12000000 ] || [ "$arch" = amd64 ] || [ "${PROFILE:-release}" != release ] \
  || fail "the binary has $size bytes, the limit for a Pi is 12 MB"
# cross/no-unwind-tables.ld
! grep -q ' \.eh_frame ' <<<"$(readelf --wide --sections "$binary")" || fail "it has unwind tables"
symbols=$(readelf --wide --dyn-syms "$binary")
glibc=$(grep -o '@GLIBC_[0-9.]*' <<<"$symbols" | sort -Vu | tail -1)
[ "$(printf '%s\n@GLIBC_2.31\n' "$glibc" | sort -V | tail -1)" = @GLIBC_2.31 ] || fail "it needs ${glibc#@}"
# fsync also writes file metadata, which wears the card (.cargo/config.toml).
grep -q ' fdatasync@' <<<"$symbols" || fail "SQLite does not use fdatasync"
echo "package: $arch, $size bytes, ${glibc#@} or newer"
lintian --fail-on error "$package"

# --- Installing and removing it --------------------------------------------------------------------------------

if [ "$arch" != "$(dpkg --print-architecture)" ]; then
  # It cannot be installed here, so an emulated processor runs it with the oldest glibc, in a network of its own.
  emulated=(cross/emulate "$arch" "$binary")
  "${emulated[@]}" check-config --config "$work/content/etc/portscan/portscan.toml" --listen 127.0.0.1:0
  # shellcheck disable=SC2016 # The inner shell expands it.
  unshare --user --map-root-user --net -- sh -euc 'ip link set lo up; "$@" scan -T4 -p 1-1000 127.0.0.1' - "${emulated[@]}" \
    | tee "$work/said"
  said '1,000 closed (conn-refused)'
  exit 0
fi
[ "$(id -u)" = 0 ] || fail "installing it needs root: sudo $0 $1"
# Created once: the packages stay the same, and each further run saves a minute.
debian=target/debian/bookworm-$arch.tar
[ -e "$debian" ] || mmdebstrap --quiet --variant=minbase --include=systemd,iproute2 bookworm "$debian"
mkdir "$work/root"
tar --extract --file "$debian" --directory "$work/root" --exclude './dev/*'
mknod -m 666 "$work/root/dev/null" c 1 3
cp "$package" "$work/root/portscan.deb"
# The next version differs in its number alone.
dpkg-deb --raw-extract "$package" "$work/next"
sed -i 's/^Version: .*/&+next/' "$work/next/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/next" "$work/root/next.deb" >/dev/null

# Runs a command in the small Debian, wrapped in the words before it, which may prepare something there. Its only
# network is its own loopback.
inside() {
  unshare --mount --net --pid --fork --mount-proc="$work/root/proc" -- \
    "${@:1:$#-1}" chroot "$work/root" sh -euc "${@: -1}" >"$work/said" 2>&1 || { cat "$work/said" >&2; return 1; }
}
there() { local path; for path; do [ -e "$work/root$path" ] || [ -L "$work/root$path" ] || fail "$path is missing"; done; }
gone() { local path; for path; do [ ! -e "$work/root$path" ] && [ ! -L "$work/root$path" ] || fail "$path is still there"; done; }
install="dpkg --install /portscan.deb"
enabled=/etc/systemd/system/multi-user.target.wants/portscan.service
manual=/usr/share/man/man1/portscan.1.gz
config=/etc/portscan/portscan.toml

inside env "$install; portscan check-config; portscan --version"
said 'configuration is valid'
! grep -q 'will not work' "$work/said" || fail "it reports a problem without a cause: $(cat "$work/said")"
there $config $enabled $manual /usr/share/man/man1/portscan-scan.1.gz \
  /usr/share/bash-completion/completions/portscan /usr/share/zsh/vendor-completions/_portscan \
  /usr/share/fish/vendor_completions.d/portscan.fish

inside env "systemd-analyze verify --man=no portscan.service 2>&1 | grep -v 'RestartSteps\|RestartMaxDelaySec' || true"
[ ! -s "$work/said" ] || fail "the unit has faults: $(cat "$work/said")"
inside env "systemd-analyze security --offline=true --threshold=14 portscan.service"
echo "package: $(grep -o 'Overall exposure.*: [0-9.]*' "$work/said")"
# The steps that the appliance names for sending ARP, without starting anything.
inside env "install -D -m 644 -t /etc/systemd/system/portscan.service.d /usr/share/portscan/ask-by-arp.conf
systemd-analyze verify --man=no portscan.service 2>&1 | grep -v 'RestartSteps\|RestartMaxDelaySec' || true"
[ ! -s "$work/said" ] || fail "the unit has faults with ask-by-arp.conf: $(cat "$work/said")"
inside env "systemd-analyze security --offline=true --threshold=15 portscan.service; rm -r /etc/systemd/system/portscan.service.d"

# A fleet's units are there and not enabled. nats-server is no part of this Debian, so it is not found.
there /usr/lib/systemd/system/portscan-{hub,hub-broker,worker}.service /usr/share/portscan/{hub,worker}.toml \
  /usr/share/man/man1/portscan-{hub,worker}.1.gz
gone /etc/systemd/system/multi-user.target.wants/portscan-{hub,hub-broker,worker}.service
inside env "portscan check-config --hub --config /usr/share/portscan/hub.toml"
inside env "portscan check-config --config /usr/share/portscan/worker.toml"
inside env "systemd-analyze verify --man=no portscan-hub.service portscan-hub-broker.service portscan-worker.service 2>&1 \
  | grep -v 'RestartSteps\|RestartMaxDelaySec\|Command nats-server is not executable' || true"
[ ! -s "$work/said" ] || fail "a fleet's units have faults: $(cat "$work/said")"
for unit in portscan-hub portscan-hub-broker portscan-worker; do
  inside env "systemd-analyze security --offline=true --threshold=15 $unit.service"
  echo "package: $unit: $(grep -o 'Overall exposure.*: [0-9.]*' "$work/said")"
done

# The owner's configuration and the database outlive an upgrade and a removal.
echo '# mine' >> "$work/root$config"
mkdir -p "$work/root/var/lib/private/portscan"
ln -s private/portscan "$work/root/var/lib/portscan"
touch "$work/root/var/lib/portscan/portscan.db"
inside env "dpkg --install /next.deb; dpkg --install /next.deb"
grep -q '# mine' "$work/root$config" || fail "an upgrade replaces the configuration"
there $enabled /var/lib/private/portscan/portscan.db
inside env "dpkg --remove portscan"
gone /usr/bin/portscan $manual
there $config /var/lib/private/portscan/portscan.db
inside env "$install; dpkg --purge portscan"
gone /etc/portscan /var/lib/portscan /var/lib/private/portscan $enabled /usr/bin/portscan

# Another server has the port: the installation succeeds all the same and names the process.
inside python3 -c 'import socket, subprocess, sys
holder = socket.create_server(("", 80))
sys.exit(subprocess.call(sys.argv[1:]))' "$install"
said 'cannot listen on 0.0.0.0:80: something else does'
said 'Port 80 is held by "python3", process [0-9]'
there $enabled
echo "package: installs, upgrades, is removed and purged; with port 80 taken it names the process"
