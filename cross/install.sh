#!/bin/sh
# Installs portscan @VERSION@ from the files of its release, wherever they lie:
#
#   curl -fsSL https://example.org/portscan/install.sh | sh -s -- https://example.org/portscan
#   sh install.sh --service /media/stick/portscan
#
# It contains the checksums of this release's tarballs (`cross/tarball` writes them in), so it is all that has to come
# from a trusted place. Nothing is installed before the tarball is checked and its program has run once.
set -eu

version='@VERSION@'
# Lines of: SHA256 ARCHITECTURE
checksums='@CHECKSUMS@'

usage="usage: sh install.sh [--prefix FOLDER] [--service] PLACE

  PLACE            where the release's files are: https://... or a folder
  --prefix FOLDER  where bin/ and share/ are: /usr/local for root, else ~/.local
  --service        also install the systemd service and start it: as root"

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

# The release's name of this machine's processor.
architecture() {
  [ "$(uname -s)" = Linux ] || fail "portscan runs on Linux, and this is $(uname -s)"
  # A 64-bit kernel may run a 32-bit system, as on many a Raspberry Pi.
  case $(uname -m):$(getconf LONG_BIT 2>/dev/null || echo 64) in
    x86_64:64) echo amd64 ;;
    aarch64:64) echo arm64 ;;
    aarch64:32 | armv7l:* | armv8l:*) echo armhf ;;
    *) fail "there is no portscan for the processor $(uname -m); build it from source: cross/README.md" ;;
  esac
}

# Copies a file of the release.
fetch() {
  case $1 in
    *://*)
      if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --output "$2" "$1"
      elif command -v wget >/dev/null; then
        wget -q -O "$2" "$1"
      else
        fail "neither curl nor wget is installed; download the release's files, and name their folder instead of $1"
      fi
      ;;
    *) cp "$1" "$2" ;;
  esac
}

install_service() {
  unit=/etc/systemd/system/portscan.service
  sed "s#^ExecStart=/usr/bin/#ExecStart=$prefix/bin/#" "$work/$name/portscan.service" >"$work/unit"
  install -m 644 "$work/unit" "$unit"
  [ -e /etc/portscan/portscan.toml ] || install -D -m 644 "$work/$name/portscan.toml" /etc/portscan/portscan.toml
  systemctl daemon-reload
  systemctl enable portscan
  systemctl restart portscan
  echo "The service runs; it scans nothing but what /etc/portscan/portscan.toml names. Next: sudo $prefix/bin/portscan setup"
}

main() {
  prefix='' service='' place=''
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix)
        [ $# -gt 1 ] || fail "--prefix needs a folder"
        prefix=$2
        shift
        ;;
      --service) service=yes ;;
      -h | --help)
        echo "$usage"
        exit
        ;;
      -*) fail "$1 is no option; $usage" ;;
      *)
        [ -z "$place" ] || fail "$1 is one argument too many; $usage"
        place=${1%/}
        ;;
    esac
    shift
  done
  [ -n "$place" ] || fail "it must know where the release's files are; $usage"
  user=$(id -u)
  if [ -z "$prefix" ]; then
    if [ "$user" = 0 ]; then prefix=/usr/local; else prefix=${HOME:?}/.local; fi
  fi
  case $prefix in
    /*) ;;
    *) fail "--prefix must begin at the root: /opt/portscan instead of $prefix" ;;
  esac
  if [ -n "$service" ]; then
    [ "$user" = 0 ] || fail "--service needs root: sudo sh install.sh --service $place"
    # As sd_booted(3) sees it.
    [ -d /run/systemd/system ] || fail "--service needs systemd, which does not run here"
    for unit in /usr/lib/systemd/system/portscan.service /lib/systemd/system/portscan.service; do
      [ ! -e "$unit" ] || fail "the Debian package is installed ($unit), and has a service: update it by apt"
    done
  fi

  arch=$(architecture)
  expected=$(echo "$checksums" | awk -v arch="$arch" '$2 == arch { print $1 }')
  [ -n "$expected" ] || fail "this release has no program for $arch"
  name=portscan-$version-linux-$arch
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  fetch "$place/$name.tar.gz" "$work/release.tar.gz" || fail "$place/$name.tar.gz cannot be read"
  got=$(sha256sum "$work/release.tar.gz" | cut -d ' ' -f 1)
  [ "$got" = "$expected" ] \
    || fail "$place/$name.tar.gz is not the file of this release: its SHA-256 is $got, expected is $expected"
  tar -xzf "$work/release.tar.gz" -C "$work"

  # Beside its place first: a rename replaces a program that runs, and programs may not run in every /tmp.
  mkdir -p "$prefix/bin" || fail "$prefix/bin cannot be made; name another folder with --prefix, or use sudo"
  trap 'rm -rf "$work" "$prefix/bin/.portscan.new"' EXIT
  install -m 755 "$work/$name/portscan" "$prefix/bin/.portscan.new" \
    || fail "$prefix/bin cannot be written to; name another folder with --prefix, or use sudo"
  "$prefix/bin/.portscan.new" --version >/dev/null || fail "the program for $arch does not run on this machine"
  mv "$prefix/bin/.portscan.new" "$prefix/bin/portscan"
  mkdir -p "$prefix/share/man/man1"
  install -m 644 "$work/$name"/man/*.1 "$prefix/share/man/man1/"
  install -D -m 644 "$work/$name/completions/portscan.bash" "$prefix/share/bash-completion/completions/portscan"
  install -D -m 644 "$work/$name/completions/_portscan" "$prefix/share/zsh/site-functions/_portscan"
  install -D -m 644 "$work/$name/completions/portscan.fish" "$prefix/share/fish/vendor_completions.d/portscan.fish"
  echo "portscan $version is installed: $prefix/bin/portscan"
  if [ -n "$service" ]; then install_service; fi
  case :$PATH: in
    *":$prefix/bin:"*) ;;
    *) echo "$prefix/bin is not in PATH; add it: export PATH=\"$prefix/bin:\$PATH\"" ;;
  esac
}

# The last line, so that a download that breaks off does nothing.
main "$@"
