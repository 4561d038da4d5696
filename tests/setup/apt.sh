# shellcheck shell=sh
# Debian's packages for the scripts beside, which read this file: installs what is missing where it may, else says how.

# missing_commands COMMAND...: prints those that are not there, each after a blank.
missing_commands() {
  for command; do
    command -v "$command" >/dev/null || [ -x "/usr/sbin/$command" ] || printf ' %s' "$command"
  done
}

# may_install: whether this is root on a machine that has apt.
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# install_packages WHO MISSING PACKAGE...: if anything is missing for WHO, installs the packages; where it may not, says
# how and fails.
install_packages() {
  who=$1 missing=$2
  shift 2
  [ -n "$missing" ] || return 0
  if may_install; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
  else
    echo "$who:$missing. Install what is missing with: sudo apt-get install $*" >&2
    return 1
  fi
}
