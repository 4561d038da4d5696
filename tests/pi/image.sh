#!/bin/sh
# Builds the system that the emulated Pi boots: Debian for arm64 with its own kernel, systemd and avahi, the base of
# Raspberry Pi OS, without portscan. tests/testkit/src/harness/pi.rs is the machine; each test gets a copy of the card.
#
#   tests/pi/image.sh DIRECTORY     DIRECTORY/{disk.img,vmlinuz,initrd}, rebuilt only if this recipe has changed
#
# Debian's packages configure themselves with their own programs, which are for arm64: this machine's kernel runs those
# in qemu-user (binfmt_misc). The kernel is unpacked and not installed, because installing it would build an initrd in
# the same way, which takes longer than all the rest; the init script of the one built here has six commands.
set -eu

out=$1
recipe=$(readlink -f "$0")
cmp -s "$recipe" "$out/recipe" && exit
[ "$(id -u)" = 0 ] || { echo "The image has files of other users, so this needs root: sudo make pi-test"; exit 1; }

suite=bookworm
mkdir -p "$out"
work=$(mktemp -d -p "$out")
trap 'rm -rf "$work"' EXIT
root=$work/root
parts=$work/parts

binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
[ -e $binfmt/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64

# Without documentation. sudo, curl, ca-certificates and libnss-mdns, which resolves names in .local for all programs, are
# what the documents' commands find on Raspberry Pi OS. nmap is for the comparison, sqlite3 checks the database, podman
# runs the container image, and Python the podman-compose that the test brings: Debian's is too old.
mmdebstrap --quiet --architectures=arm64 --variant=minbase --aptopt='Acquire::Languages "none"' \
  --include=systemd-sysv,udev,dbus,avahi-daemon,libnss-mdns,iproute2,sudo,curl,ca-certificates,nmap,sqlite3 \
  --include=podman,crun,python3-yaml,python3-dotenv \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' $suite "$root"
mmdebstrap --quiet --architectures=arm64 --variant=extract --include=linux-image-cloud-arm64,busybox-static \
  $suite "$parts"

put() { mkdir -p "$root/$(dirname "$1")" && cat >"$root/$1"; }

# The address of the scanner in the lab (tests/testkit/src/scenario.rs).
put etc/systemd/network/eth0.network <<END
[Match]
Name=eth0
[Network]
Address=10.77.0.1/16
END

# A root shell for the test, which has the other end of the virtual port.
put etc/systemd/system/shell.service <<END
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh
StandardInput=file:/dev/virtio-ports/shell
StandardOutput=file:/dev/virtio-ports/shell
Restart=always
RestartSec=300ms
[Install]
WantedBy=multi-user.target
END

# The journal is kept in memory, as on Raspberry Pi OS, and copied to the serial port line by line, so that the test has
# every line up to a power cut.
put etc/systemd/journald.conf.d/serial.conf <<END
[Journal]
Storage=volatile
ForwardToConsole=yes
TTYPath=/dev/ttyAMA0
END

echo pi | put etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 pi\n::1 localhost\n' | put etc/hosts
tr -d - </proc/sys/kernel/random/uuid | put etc/machine-id
chroot "$root" systemctl --quiet enable shell systemd-networkd
# The owner's account, as Raspberry Pi OS makes it.
chroot "$root" useradd --create-home --shell /bin/bash --groups adm,sudo pi
echo 'pi ALL=(ALL) NOPASSWD: ALL' | put etc/sudoers.d/010_pi-nopasswd
chmod 440 "$root/etc/sudoers.d/010_pi-nopasswd"
# The kernel's module for overlays is not among those below, and the image is one layer.
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers"\ngraphroot = "/var/lib/containers"\n' \
  | put etc/containers/storage.conf
# Logins are not needed, and the writes of Debian's own housekeeping would be counted as portscan's.
chroot "$root" systemctl --quiet mask getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
  e2scrub_all.timer e2scrub_reap.service fstrim.timer
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

# The kernel modules for the card, the network, the port, VLANs and pairs of interfaces, each after the modules that it
# needs.
mkdir -p "$work/initrd/dev" "$work/initrd/root"
cp "$parts/bin/busybox" "$work/initrd"
modules="virtio_ring virtio virtio_mmio virtio_blk failover net_failover virtio_net virtio_console virtio-rng autofs4 \
  llc stp garp mrp 8021q veth"
for module in $modules; do
  find "$parts/lib/modules" -name "$module.ko" -exec cp {} "$work/initrd" \;
done
cat >"$work/initrd/init" <<END
#!/busybox sh
set -e
/busybox mount -t devtmpfs dev /dev
for module in $modules; do /busybox insmod /\$module.ko; done
until [ -e /dev/vda ]; do /busybox usleep 10000; done
/busybox mount -t ext4 -o noatime /dev/vda /root
exec /busybox switch_root /root /sbin/init
END
chmod +x "$work/initrd/init"
(cd "$work/initrd" && find . | cpio --quiet --create --format=newc | gzip) >"$out/initrd"
cp "$parts"/boot/vmlinuz-* "$out/vmlinuz"
# The system takes some 500 MB; the tests fill the rest.
rm -f "$out/disk.img"
truncate --size=1500M "$out/disk.img"
mke2fs -q -t ext4 -d "$root" "$out/disk.img"
cp "$recipe" "$out/recipe"
