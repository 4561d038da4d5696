# portscan: what listens on my network, what changed, and is that all right?
#
#   make         builds and runs the appliance here, watching this machine alone
#   make test    installs what the tests need, then passes all of them
#   make help    lists the rest
#
# Any MY_... variable of your shell's environment overrides what `make run` does, as it always has: the
# binary reads them itself, and an empty one counts as unset. Below they are only read to print URLs.

CARGO  ?= cargo
# A little less optimised than a release, and built in half the time.
BINARY := target/quick/portscan
PORT   := $(or $(MY_REST_API_HOST_PORT),$(MY_REST_API_CONTAINER_PORT),$(MY_REST_API_PORT),$(MY_CONTAINER_BIND_PORT),8080)
SITE   := http://localhost:$(PORT)
URL    := $(SITE)/$(or $(MY_REST_API_BASE_URL),portscan)

# Network namespaces are root's to make, in a user namespace of one's own at the least.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,unshare --user --map-root-user)

# What `make bench` measures, and how often; `make bench TARGETS=mixed` for a whole network.
TARGETS ?= near,wifi,silent,limited,gadget
RUNS    ?= 3
# The peers that Debian does not have are built here.
PEERS   := $(CURDIR)/target/peers

# On how many simulated hosts `make properties` tries the engine.
CASES   ?= 200000

# What `make fuzz` feeds with bytes, and for how long each.
INPUTS  ?= feed nmap words config paths
MINUTES ?= 10
# It works on any machine, though not at its fastest.
AFL     := AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_NO_UI=1

# Prometheus, its Alertmanager, avahi and nginx for the tests: unpacked, for installed ones would run here from then on.
# libfaketime sets one program's clock.
TOOLS   := $(CURDIR)/target/tools
# Avahi with those of its libraries that few machines have, and the bus that it speaks on.
AVAHI   := avahi-daemon avahi-utils libavahi-core7 libavahi-client3 libavahi-common3 libdaemon0 \
  dbus-daemon libdbus-1-3 libapparmor1 libexpat1

# Schemathesis for the tests, with what it needs of Python's.
VENV    := $(CURDIR)/target/venv
# axe's rules of accessibility, of a package of Python's that has them whole; what else that needs is left out.
AXE     := axe-playwright-python==0.1.8

# For which machines `make cross` and `make deb` build: arm64, armhf or amd64, as `dpkg --print-architecture` says.
ARCH    ?= arm64
RUST_OF_arm64 := aarch64-unknown-linux-gnu
RUST_OF_armhf := armv7-unknown-linux-gnueabihf
RUST_OF_amd64 := x86_64-unknown-linux-gnu
TRIPLE  := $(or $(RUST_OF_$(ARCH)),$(error ARCH=$(ARCH) is none of arm64, armhf and amd64))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
PROFILE ?= release
DEB     ?= target/debian/portscan_$(VERSION)_$(ARCH).deb
HERE    := $(shell dpkg --print-architecture 2>/dev/null)
# What makes packages and the book, and what judges the dependencies: built here.
MAKERS  := $(CURDIR)/target/makers
# The book, and the files that it consists of or links to, each at its place (docs/SUMMARY.md).
BOOK    := target/book
LINKED  := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE-APACHE LICENSE-MIT deny.toml \
  benches/RESULTS.md cross/README.md docs monitoring src/services/README.md src/vendor/README.md systemd \
  tests/screenshots
# The oldest Rust that is promised.
MSRV    := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# What runs their tests here.
EMULATOR := $(CURDIR)/target/cross/qemu/usr/bin/qemu-aarch64-static
BULLSEYE := $(CURDIR)/target/cross/bullseye

# What the tests run for real: ip (network namespaces), nmap (a peer to agree with), unshare, curl; ndiff, xmllint
# and python-libnmap judge what is written in nmap's formats; of the page Node, a browser, its driver and letters.
PACKAGES := iproute2 nmap ndiff util-linux curl libxml2-utils python3-libnmap nodejs \
  chromium chromium-driver fonts-liberation gcc libc6-dev

# What makes the emulated Pi, and what it is emulated by.
PI_PACKAGES := qemu-system-arm qemu-user-static binfmt-support mmdebstrap arch-test cpio e2fsprogs

.DEFAULT_GOAL := run
.PHONY: run build release cross cross-test deb deb-setup deb-test test acceptance properties siege \
  pi-test pi-setup screenshots bench bench-micro bench-setup fuzz lint deny deny-advisories msrv msrv-setup docs setup \
  services vendors stats help clean

run: build ## build and run the appliance, with this machine as its one device
	@printf '\nTry, in another terminal:\n  %s\n  %s\n  %s\n\n' \
	  'curl -s $(URL)/json' 'curl -s $(URL)/02:00:00:00:00:01/json' 'curl -s $(URL)/127.0.0.1/22/json'
	@exec $(BINARY) serve --config tests/loopback.toml

build: ## build the binary that `make run` runs
	$(CARGO) build --locked --profile quick

release: ## build the binary to install: smallest and fastest
	$(CARGO) build --locked --release

cross: ## build for a Raspberry Pi, from any machine: ARCH=arm64, armhf or amd64 (cross/)
	cross/build zigbuild $(TRIPLE) --locked --profile $(PROFILE)
	@ls -l target/$(TRIPLE)/$(PROFILE)/portscan | awk '{ printf "%s: %.2f MB\n", $$NF, $$5 / 1e6 }'

deb: cross $(MAKERS)/bin/cargo-deb ## package the binary of `make cross`, for `apt install ./FILE`
	$(CARGO) run --locked --quiet --example manual
	@printf 'portscan ($(VERSION)) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' \
	  "$$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" "$$(git log -1 --format=%cD)" | gzip -9n > target/manual/changelog.gz
	PATH="$(MAKERS)/bin:$$PATH" $(CARGO) deb --locked --quiet --no-build --no-strip \
	  --target $(TRIPLE) --profile $(PROFILE) --output $(DEB)
	@echo "$(DEB)"

# What a Pi gets is looked at and run by an emulated processor; what is installed is for this machine, built quickly.
deb-test: deb-setup $(EMULATOR) $(BULLSEYE)/lib ## inspect a Pi's package; install, upgrade and purge one here: as root
	$(MAKE) deb ARCH=arm64
	tests/package.sh target/debian/portscan_$(VERSION)_arm64.deb
	$(MAKE) deb ARCH=$(HERE) PROFILE=quick DEB=target/debian/quick_$(HERE).deb
	tests/package.sh target/debian/quick_$(HERE).deb

deb-setup:
	@missing=; for command in lintian mmdebstrap readelf; do \
	  command -v $$command >/dev/null || missing="$$missing $$command"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y lintian mmdebstrap binutils >/dev/null; \
	else echo "This needs:$$missing. Install them with: sudo apt-get install lintian mmdebstrap binutils"; exit 1; fi

# By an emulated processor, with the oldest glibc that is promised. What is random is tried less often, and what
# starts the binary is left out: it would take hours, or namespaces that the emulator does not have. Nor does it know
# the kernel's queues of errors, tables of neighbours and filters of sockets; `make pi-test` has a kernel of its own, and uses both.
cross-test: export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER := $(EMULATOR) -cpu cortex-a53 -L $(BULLSEYE)
cross-test: export PROPTEST_CASES ?= 8
# Optimised, for an emulated processor is slow, and without what only a debugger needs, which takes long to make. The
# tests are made first and at once: each is one crate, which one core compiles.
cross-test: OPTIMISED := --config profile.dev.package.portscan.opt-level=1 --config profile.dev.debug=0
cross-test: $(EMULATOR) $(BULLSEYE)/lib ## run the tests that need no network on an emulated Raspberry Pi processor
	cross/build test $(RUST_OF_arm64) --locked $(OPTIMISED) --lib --test integration --no-run
	cross/build test $(RUST_OF_arm64) --locked $(OPTIMISED) --lib -- --skip net::connect:: --skip reads_the_kernels_tables \
	  --skip net::mdns::valve::
	cross/build test $(RUST_OF_arm64) --locked $(OPTIMISED) --test integration -- layers:: corpus::

$(EMULATOR):
	cross/fetch target/cross/qemu bookworm qemu-user-static

$(BULLSEYE)/lib:
	cross/fetch $(BULLSEYE) bullseye libc6:arm64 libgcc-s1:arm64

$(MAKERS)/bin/cargo-deb:
	$(CARGO) install --quiet --locked --root $(MAKERS) --version 3.8.0 cargo-deb

# Most of them wait for a slow network most of the time; a test that needs all cores says so (tests/testkit/src/lab/turn.rs).
test: export RUST_TEST_THREADS ?= 6
test: setup ## run all tests, in networks of their own
	$(CARGO) test --locked --workspace --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --workspace

acceptance: setup ## run the long measurements behind docs/performance.md: an hour or two, all 65,535 ports
	PORTSCAN_TEST_PORTS=1-65535 PORTSCAN_TEST_SEEDS=1000 PORTSCAN_TEST_RUNS=20 \
	  $(CARGO) test --locked --release --lib --test integration -- --nocapture \
	  engine::simulation::worlds appliance:: says_the_same answers_are_quick size::

properties: ## test the engine on CASES (200000) simulated hosts, dozing ones included: twenty minutes of one core
	PROPTEST_CASES=$(CASES) $(CARGO) test --locked --lib --config profile.dev.package.portscan.opt-level=2 -- \
	  without_loss_the_report_is_the_truth faults_of_this_machine_are_never_verdicts whatever_dozes_is_found

siege: export PORTSCAN_TEST_SIEGE ?= 10
siege: export PORTSCAN_TEST_KILLS ?= 900
siege: export PORTSCAN_TEST_FULL_DISK_KILLS ?= 100
siege: setup ## run ten minutes of hostile clients, neighbours and faults at once, then a thousand kills: an hour
	$(CARGO) test --locked --release --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --release --test integration -- --include-ignored --nocapture \
	  --test-threads 1 siege::a_long crash::kills

screenshots: setup $(TOOLS)/usr/bin/pngquant ## renew the dashboard's screenshots (docs/page.md)
	PORTSCAN_TEST_SCREENSHOTS=$(CURDIR)/tests/screenshots \
	  $(AS_ROOT) $(CARGO) test --locked --test integration -- --ignored browser::pictures

pi-test: setup pi-setup deb ## install the package on an emulated Pi, cut its power, fill its card: as root, an hour
	$(CARGO) test --locked --test integration --no-run
	$(CARGO) test --locked --offline --test integration -- --ignored --nocapture --test-threads 1 pi::

pi-setup: # makes the card of the emulated Pi, once, in some five minutes
	@missing=; for command in qemu-system-aarch64 qemu-aarch64-static update-binfmts mmdebstrap arch-test cpio mke2fs; do \
	  command -v $$command >/dev/null || [ -x /usr/sbin/$$command ] || missing="$$missing $$command"; done; \
	if [ -z "$$missing" ]; then :; elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(PI_PACKAGES) >/dev/null; \
	else echo "The emulated Pi needs:$$missing. Install them with: sudo apt-get install $(PI_PACKAGES)"; exit 1; fi
	tests/pi/image.sh target/pi

bench: release bench-setup ## renew docs/performance.md: side by side with nmap, RustScan and masscan, hours
	$(CARGO) bench --locked --profile quick --bench compare --no-run
	PATH="$(PEERS)/bin:$$PATH" $(AS_ROOT) $(CARGO) bench --locked --offline --profile quick --bench compare -- --write \
	  --portscan $(CURDIR)/target/release/portscan --targets $(TARGETS) --runs $(RUNS)

bench-micro: ## benchmark the engine's cost per probe and the store's per finished host
	$(CARGO) bench --locked --bench micro

bench-setup: setup # installs the peers; a missing one is left out, and the table says so
	@command -v masscan >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y masscan >/dev/null; } \
	  || echo "masscan is left out. Install it with: sudo apt-get install masscan"
	@PATH="$(PEERS)/bin:$$PATH"; command -v rustscan >/dev/null \
	  || $(CARGO) install --quiet --locked --root $(PEERS) --version 2.4.1 rustscan \
	  || echo "RustScan is left out: it could not be built"

fuzz: ## fuzz the parsers with afl++, MINUTES of each (tests/corpus/inputs.rs)
	@PATH="$(PEERS)/bin:$$PATH"; command -v cargo-afl >/dev/null \
	  || $(CARGO) install --quiet --locked --root $(PEERS) --version 0.18.2 cargo-afl
	cd fuzz && PATH="$(PEERS)/bin:$$PATH" $(CARGO) afl build --locked --release
	@mkdir -p fuzz/found; cd fuzz; export PATH="$(PEERS)/bin:$$PATH" $(AFL); for input in $(INPUTS); do \
	  $(CARGO) afl fuzz -V $$(($(MINUTES) * 60)) -i ../tests/corpus/$$input -o found/$$input target/release/$$input \
	    >found/$$input.log || { cat found/$$input.log; exit 1; }; \
	  sed -n 's/^\(execs_done\|saved_crashes\|saved_hangs\) *: /'$$input' \1 /p' found/$$input/default/fuzzer_stats; done

lint: ## check formatting, clippy's lints and documentation, without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

deny: $(MAKERS)/bin/cargo-deny ## check licences, banned crates and sources of the dependencies (deny.toml)
	PATH="$(MAKERS)/bin:$$PATH" $(CARGO) deny --locked check --hide-inclusion-graph licenses bans sources

# Apart, because it fetches the advisory database, which not every machine can.
deny-advisories: $(MAKERS)/bin/cargo-deny ## check the dependencies for known vulnerabilities: needs the network
	PATH="$(MAKERS)/bin:$$PATH" $(CARGO) deny --locked check advisories

msrv: msrv-setup ## compile everything with the oldest supported Rust, installed by rustup
	CARGO_TARGET_DIR=target/msrv rustup run $(MSRV) cargo check --locked --workspace --all-targets

msrv-setup: # installs that Rust where it is missing
	rustup run $(MSRV) rustc --version || rustup toolchain install $(MSRV) --profile minimal --no-self-update

docs: $(MAKERS)/bin/mdbook ## build the documents as a book with a search: target/book/html
	@rm -rf $(BOOK) && mkdir -p $(BOOK)/src
	@cp --recursive --parents $(LINKED) $(BOOK)/src
	@sed -e 's#](\.\./#](#' -e t -e 's#](#](docs/#' docs/SUMMARY.md > $(BOOK)/src/SUMMARY.md
	@rm $(BOOK)/src/docs/SUMMARY.md
	$(MAKERS)/bin/mdbook build

$(MAKERS)/bin/mdbook:
	$(CARGO) install --quiet --locked --root $(MAKERS) --version 0.5.4 --no-default-features --features search mdbook

$(MAKERS)/bin/cargo-deny:
	$(CARGO) install --quiet --locked --root $(MAKERS) --version 0.20.2 cargo-deny

setup: $(addprefix $(TOOLS)/usr/,bin/promtool bin/amtool bin/faketime sbin/avahi-daemon sbin/nginx) \
  $(TOOLS)/axe $(VENV)/bin/schemathesis # installs what the tests need where it may, else says how
	@missing=; for command in ip nmap ndiff unshare curl xmllint node chromedriver cc; do \
	  command -v $$command >/dev/null || [ -x /usr/sbin/$$command ] || missing="$$missing $$command"; done; \
	/usr/bin/python3 -c 'import libnmap' 2>/dev/null || missing="$$missing python3-libnmap"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(PACKAGES) >/dev/null; \
	else echo "The tests need:$$missing. Install them with: sudo apt-get install $(PACKAGES)"; exit 1; fi

$(TOOLS)/usr/bin/promtool: UNPACKED := prometheus
$(TOOLS)/usr/bin/amtool: UNPACKED := prometheus-alertmanager
$(TOOLS)/usr/sbin/avahi-daemon: UNPACKED := $(AVAHI)
$(TOOLS)/usr/sbin/nginx: UNPACKED := nginx
$(TOOLS)/usr/bin/faketime: UNPACKED := faketime libfaketime
$(TOOLS)/usr/bin/pngquant: UNPACKED := pngquant libimagequant0
$(TOOLS)/usr/%:
	@mkdir -p $(TOOLS)/$(@F); cd $(TOOLS)/$(@F); if apt-get download -qq $(UNPACKED) >/dev/null 2>&1 \
	  || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq $(UNPACKED) >/dev/null 2>&1; }; \
	then for package in *.deb; do dpkg-deb -x $$package ..; done; touch $@; \
	elif command -v $(@F) >/dev/null; then echo "The tests use the $(@F) that is installed."; \
	else echo "The tests need $(@F). Install it with: sudo apt-get install $(UNPACKED)"; exit 1; fi; rm -r $(TOOLS)/$(@F)

$(VENV)/bin/schemathesis: tests/requirements.txt
	@python3 -m venv $(VENV) >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null && python3 -m venv $(VENV); } \
	  || { echo "The tests need Python's venv. Install it with: sudo apt-get install python3-venv"; exit 1; }
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt && touch $@

$(TOOLS)/axe: $(VENV)/bin/schemathesis Makefile
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $@ $(AXE) && touch $@

services: ## renew port names and the ranking of ports from their pinned sources (src/services/README.md)
	python3 src/services/update.py

vendors: ## renew the makers of network interfaces from their pinned source (src/vendor/README.md)
	python3 src/vendor/update.py

stats: ## show what the appliance that runs here has found so far
	@$(BINARY) status --url $(SITE)

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

clean: ## remove what was built; the data below ./var stays
	$(CARGO) clean
