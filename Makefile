# portscan: what listens on my network, what changed, and is that all right?
#
#   make         builds and runs the appliance here, watching this machine alone
#   make test    installs what the tests need, then passes all of them
#   make help    lists the rest
#
# Any MY_... variable of your shell's environment overrides what `make run` does, as it always has: the
# binary reads them itself, and an empty one counts as unset. Below they are only read to print URLs.

CARGO  ?= cargo
export CARGO
# A little less optimised than a release, and built in half the time.
BINARY := target/quick/portscan
PORT   := $(or $(MY_REST_API_HOST_PORT),$(MY_REST_API_CONTAINER_PORT),$(MY_REST_API_PORT),\
  $(MY_CONTAINER_BIND_PORT),8080)
SITE   := http://localhost:$(PORT)
URL    := $(SITE)/$(or $(MY_REST_API_BASE_URL),portscan)

# Making a network namespace takes root, at least in a user namespace.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,unshare --user --map-root-user)

# The targets of `make bench`, and the number of runs; `make bench TARGETS=mixed` for a whole network.
TARGETS ?= near,wifi,silent,limited,gadget
RUNS    ?= 3
# The scanners for comparison that Debian does not have (tests/setup/peers).
PEERS   := $(CURDIR)/target/peers

# The number of simulated hosts on which `make properties` tests the engine.
CASES   ?= 200000

# The parsers that `make fuzz` tests, and the minutes for each.
INPUTS  ?= feed nmap words config paths identify
MINUTES ?= 10

# The architecture for which `make cross` and `make deb` build, and `make cross-test` and `make deb-test` test: arm64,
# armhf or amd64, as `dpkg --print-architecture` says.
ARCH    ?= arm64
RUST_OF_arm64 := aarch64-unknown-linux-gnu
RUST_OF_armhf := armv7-unknown-linux-gnueabihf
RUST_OF_amd64 := x86_64-unknown-linux-gnu
TRIPLE  := $(or $(RUST_OF_$(ARCH)),$(error ARCH=$(ARCH) is none of arm64, armhf and amd64))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
PROFILE ?= release
# The package for an architecture.
PACKAGE  = target/debian/portscan_$(VERSION)_$(1).deb
DEB     ?= $(call PACKAGE,$(ARCH))
HERE    := $(shell dpkg --print-architecture 2>/dev/null)
# The tools for packages, the book, the dependency checks and fuzzing (tests/setup/maker).
MAKERS  := $(CURDIR)/target/makers
# The book, and the files that it consists of or links to, each at its place (docs/SUMMARY.md).
BOOK    := target/book
LINKED  := README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md compose.yaml LICENSE-APACHE LICENSE-MIT deny.toml \
  benches/RESULTS.md cross/README.md docs monitoring src/identify/tables/README.md src/services/README.md \
  src/vendor/README.md systemd tests/screenshots
# The oldest Rust that is promised.
MSRV    := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
# The architectures of the container image: amd64, arm64 and armv7.
IMAGE_ARCHS ?= amd64 arm64 armv7
IMAGE   ?= target/image/portscan_$(VERSION).tar
MUSL_OF_amd64 := x86_64-unknown-linux-musl
MUSL_OF_arm64 := aarch64-unknown-linux-musl
MUSL_OF_armv7 := armv7-unknown-linux-musleabihf
IMAGE_OF_armhf := armv7
# The apt repository, the key that signs it, and what a release consists of (docs/releasing.md).
KEY     ?= portscan
SUITES  ?= bookworm trixie
REPOSITORY ?= target/repository
DIST    ?= target/dist
DIST_ARCHS ?= amd64 arm64 armhf
# A tarball has the image's static binary, which runs on any Linux.
TARBALL_OF_amd64 := $(MUSL_OF_amd64)
TARBALL_OF_arm64 := $(MUSL_OF_arm64)
TARBALL_OF_armhf := $(MUSL_OF_armv7)

.DEFAULT_GOAL := run
.PHONY: run build release cross cross-test cross-test-setup deb deb-setup deb-test repository-test image image-setup \
  image-test add-on repository sbom dist test acceptance \
  first-minute identify-cost servers properties alerts home-assistant siege \
  fleet fleet-cost fleet-scan fleet-skew fleet-demo \
  pi-test pi-image-test pi-setup screenshots bench bench-micro bench-setup fuzz fuzz-setup lint deny deny-advisories \
  msrv msrv-setup docs setup services vendors stats help clean

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
	  "$$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" "$$(git log -1 --format=%cD)" \
	  | gzip -9n > target/manual/changelog.gz
	PATH="$(MAKERS)/bin:$$PATH" $(CARGO) deb --locked --quiet --no-build --no-strip \
	  --target $(TRIPLE) --profile $(PROFILE) --output $(DEB)
	@echo "$(DEB)"

# The Pi's package is inspected, and its program runs on an emulated processor; the installed package is for this
# machine.
HERE_DEB := $(call PACKAGE,$(HERE))
deb-test: deb-setup ## inspect a Pi's package (ARCH); install one here, by apt too, upgrade and purge it: as root
	$(MAKE) deb
	PROFILE=$(PROFILE) tests/package.sh $(DEB)
	$(MAKE) deb ARCH=$(HERE) DEB=$(HERE_DEB)
	PROFILE=$(PROFILE) tests/package.sh $(HERE_DEB)
	tests/repository.sh $(HERE_DEB) bookworm

repository-test: deb-setup ## install, upgrade, remove and purge by apt in fresh Debians, SUITES: as root
	$(MAKE) deb ARCH=$(HERE) DEB=$(HERE_DEB)
	tests/repository.sh $(HERE_DEB) $(SUITES)

deb-setup: # installs what checks a package, or says how
	@tests/setup/deb

# The container image, of static binaries: it contains no system (docs/container.md).
image: $(IMAGE_ARCHS:%=image-binary-%) ## build the container image, for all of IMAGE_ARCHS in one (docs/container.md)
	@mkdir -p $(dir $(IMAGE))
	cross/image $(IMAGE) $(if $(filter-out release,$(PROFILE)),--trial) --version $(VERSION) \
	  --created "$$(git log -1 --format=%ct)" --revision "$$(git rev-parse HEAD)" \
	  $(foreach arch,$(IMAGE_ARCHS),$(arch)=target/$(MUSL_OF_$(arch))/$(PROFILE)/portscan)

image-binary-%:
	cross/build zigbuild $(or $(MUSL_OF_$*),$(error IMAGE_ARCHS: $* is none of amd64, arm64 and armv7)) \
	  --locked --profile $(PROFILE)

image-setup: # installs the runtime that the image is tried with, or says how
	@tests/setup/image

IMAGE_HERE := $(or $(IMAGE_OF_$(HERE)),$(HERE))
image-test: export PORTSCAN_TEST_IMAGE := $(CURDIR)/target/image/quick.tar
image-test: setup image-setup ## run this machine's image by crun and podman, read-only and as its user: as root
	$(MAKE) image IMAGE_ARCHS=$(IMAGE_HERE) PROFILE=quick IMAGE=$(PORTSCAN_TEST_IMAGE)
	$(CARGO) test --locked --test integration --no-run
	$(CARGO) test --locked --offline --test integration -- --ignored --nocapture container::

# For the processors that Home Assistant runs on: it gave up those with 32 bits with 2025.12, and its Supervisor warns
# of an add-on that names them. What Supervisor makes of it, see docs/container.md.
ADD_ON_ARCHS ?= amd64 arm64
add-on: $(ADD_ON_ARCHS:%=image-binary-%) ## put the Home Assistant add-on together: target/add-on/portscan
	cross/add-on target/add-on $(VERSION) \
	  $(foreach arch,$(ADD_ON_ARCHS),$(arch)=target/$(MUSL_OF_$(arch))/$(PROFILE)/portscan)

repository: ## make a signed apt repository of the packages of `make deb`: KEY, REPOSITORY
	cross/repository $(REPOSITORY) $(KEY) target/debian/portscan_*.deb

sbom: ## list what the binary is made of: target/portscan.cdx.json (CycloneDX)
	@mkdir -p target
	cross/sbom $(foreach arch,$(DIST_ARCHS),$(RUST_OF_$(arch)) $(TARBALL_OF_$(arch))) > target/portscan.cdx.json

dist: sbom ## build all that a release consists of, for DIST_ARCHS: target/dist (docs/releasing.md)
	rm -f target/debian/portscan_$(VERSION)_*.deb
	for arch in $(DIST_ARCHS); do $(MAKE) deb ARCH=$$arch || exit; done
	$(MAKE) image
	cross/dist $(DIST) $(VERSION) "$$(git log -1 --format=%ct)" \
	  $(foreach arch,$(DIST_ARCHS),$(arch)=target/$(TARBALL_OF_$(arch))/$(PROFILE)/portscan)

# Optimised, because an emulated processor is slow, and without debug information, which takes long to make. The
# tests are made first and at once: each is one crate, which one core compiles.
OPTIMISED := --config profile.dev.package.portscan.opt-level=1 --config profile.dev.debug=0
cross-test-setup: # builds them
	cross/build test $(TRIPLE) --locked $(OPTIMISED) --lib --test integration --no-run

# By an emulated processor, with the oldest glibc that is promised. What is random is tried less often, and what
# starts the binary is left out: it would take hours, or namespaces that the emulator does not have. Nor does it know
# the kernel's queues of errors, tables of neighbours and filters of sockets; `make pi-test` has a kernel of its own,
# and uses them.
EMULATED := --config 'target.$(TRIPLE).runner = ["$(CURDIR)/cross/emulate", "$(ARCH)"]'
cross-test: export PROPTEST_CASES ?= 8
cross-test: cross-test-setup ## run the tests that need no network on a Pi's emulated processor: ARCH=arm64 or armhf
	cross/emulate $(ARCH)
	cross/build test $(TRIPLE) --locked $(OPTIMISED) $(EMULATED) --lib -- --skip net::connect:: \
	  --skip reads_the_kernels_tables --skip net::mdns::valve:: --skip net::syn::tests::
	cross/build test $(TRIPLE) --locked $(OPTIMISED) $(EMULATED) --test integration -- layers:: corpus::

$(MAKERS)/bin/%:
	tests/setup/maker $*

# Most of the tests mostly wait for a slow network; a test that needs all cores says so
# (tests/testkit/src/lab/turn.rs). What a build has written keeps a disk busy for half a minute, and every commit of an
# appliance waits for that; so the tests' files are kept in memory where 4 GB of it are free.
MEMORY := $(shell df --block-size=1G --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 >= 4 { print "/dev/shm" }')
test: export RUST_TEST_THREADS ?= 6
test: export TMPDIR := $(or $(TMPDIR),$(MEMORY),/tmp)
test: setup ## run all tests, in networks of their own
	$(CARGO) test --locked --workspace --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --workspace

acceptance: setup ## run the long measurements behind docs/performance.md: an hour or two, all 65,535 ports
	PORTSCAN_TEST_PORTS=1-65535 PORTSCAN_TEST_SEEDS=1000 PORTSCAN_TEST_RUNS=20 \
	  $(CARGO) test --locked --release --lib --test integration -- --nocapture \
	  engine::simulation::worlds appliance:: says_the_same alone::channel_memory alone::http_bounds \
	  alone::scan_memory alone::size

first-minute: setup ## measure how soon 40 and 250 devices have an answer, and what the hourly scan costs: an hour
	$(CARGO) test --locked --profile quick --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --profile quick --test integration -- --ignored --nocapture \
	  --test-threads 1 first_minute:: browser::first_screens::

identify-cost: setup ## measure what identifying 2,500 ports of 250 devices costs: half an hour
	$(CARGO) test --locked --profile quick --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --profile quick --test integration -- --ignored --nocapture \
	  identify_cost::

servers: setup ## identify Debian's servers, each named rightly or not at all: gets a hundred packages
	@tests/setup/servers
	$(CARGO) test --locked --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --ignored --nocapture servers::

properties: ## test the engine on CASES (200000) simulated hosts, dozing ones included: twenty minutes of one core
	PROPTEST_CASES=$(CASES) $(CARGO) test --locked --lib --config profile.dev.package.portscan.opt-level=2 -- \
	  without_loss_the_report_is_the_truth faults_of_this_machine_are_never_verdicts whatever_dozes_is_found

alerts: export PORTSCAN_TEST_ALERT_KILLS ?= 40
alerts: setup ## send a thousand alerts through each channel while all are killed and the network is cut: half an hour
	$(CARGO) test --locked --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --nocapture \
	  delivery::channels::kills delivery::http::kills delivery::mail::kills delivery::mqtt::kills \
	  delivery::syslog::kills

fleet: export PORTSCAN_TEST_HISTORIES ?= 100
fleet: export PORTSCAN_TEST_SITES ?= 5
fleet: setup ## kill sites, hub and broker in a hundred histories of five sites; the hub's copies must be equal
	$(CARGO) build --locked --profile quick
	$(CARGO) test --locked --lib --test integration --no-run
	PORTSCAN_TEST_BINARY=$(CURDIR)/$(BINARY) $(AS_ROOT) $(CARGO) test --locked --offline --lib --test integration -- \
	  --nocapture fleet::

fleet-cost: setup ## measure a hub of forty sites with 250 devices each: time, memory, disk, answers
	$(CARGO) build --locked --profile quick
	$(CARGO) test --locked --test integration --no-run
	PORTSCAN_TEST_BINARY=$(CURDIR)/$(BINARY) $(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --ignored \
	  --nocapture fleet::scale

fleet-scan: setup ## scan 65,534 addresses by four workers, of which one dies and one is cut off; and by one and two
	$(CARGO) build --locked --profile quick
	$(CARGO) test --locked --test integration --no-run
	PORTSCAN_TEST_BINARY=$(CURDIR)/$(BINARY) $(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --ignored \
	  --nocapture --test-threads 1 fleet::workers

fleet-skew: setup ## let hub and sites of two releases exchange data: this one, and one with another column
	tests/setup/next-release
	$(CARGO) build --locked --profile quick
	$(CARGO) test --locked --test integration --no-run
	PORTSCAN_TEST_BINARY=$(CURDIR)/$(BINARY) PORTSCAN_NEXT_BINARY=$(CURDIR)/target/next/target/quick/portscan \
	  $(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --ignored fleet::skew

fleet-demo: setup build ## show a hub and three appliances with simulated devices in a browser here, until Ctrl-C
	$(CARGO) build --locked --package testkit --example fleet_demo
	@PORTSCAN_TEST_BINARY=$(CURDIR)/$(BINARY) $(AS_ROOT) target/debug/examples/fleet_demo

home-assistant: setup ## let a real Home Assistant find the appliance by MQTT and press its button: needs Python 3.13
	@tests/setup/home-assistant
	@tests/setup/unpack pngquant
	$(CARGO) test --locked --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --test integration -- --ignored --nocapture delivery::home_assistant

siege: export PORTSCAN_TEST_SIEGE ?= 10
siege: export PORTSCAN_TEST_KILLS ?= 900
siege: export PORTSCAN_TEST_FULL_DISK_KILLS ?= 100
siege: setup ## run ten minutes of hostile clients, neighbours and faults at once, then a thousand kills: an hour
	$(CARGO) test --locked --release --test integration --no-run
	$(AS_ROOT) $(CARGO) test --locked --offline --release --test integration -- --include-ignored --nocapture \
	  --test-threads 1 siege::a_long crash::kills

screenshots: setup ## renew the dashboard's screenshots (docs/page.md)
	@tests/setup/unpack pngquant
	PORTSCAN_TEST_SCREENSHOTS=$(CURDIR)/tests/screenshots \
	  $(AS_ROOT) $(CARGO) test --locked --test integration -- --ignored browser::pictures

pi-test: setup pi-setup deb-setup deb ## install on an emulated Pi as README says, cut its power, fill its card: as root, an hour
	$(CARGO) test --locked --test integration --no-run
	$(CARGO) test --locked --offline --test integration -- --ignored --nocapture --test-threads 1 pi:: --skip pi::image

pi-image-test: setup pi-setup ## run the container image on an emulated Pi, as docs/container.md says: as root, half an hour
	$(MAKE) image IMAGE_ARCHS=arm64 PROFILE=quick IMAGE=$(CURDIR)/target/image/pi.tar
	$(CARGO) test --locked --test integration --no-run
	$(CARGO) test --locked --offline --test integration -- --ignored --nocapture --test-threads 1 pi::image

pi-setup: # makes the card of the emulated Pi, once, in some five minutes
	@tests/setup/pi
	tests/pi/image.sh target/pi

bench: release bench-setup ## renew docs/performance.md: side by side with nmap, RustScan and masscan, hours
	$(CARGO) bench --locked --profile quick --bench compare --no-run
	PATH="$(PEERS)/bin:$$PATH" $(AS_ROOT) $(CARGO) bench --locked --offline --profile quick --bench compare -- --write \
	  --portscan $(CURDIR)/target/release/portscan --targets $(TARGETS) --runs $(RUNS)

bench-micro: ## benchmark the engine's cost per probe and the store's per finished host
	$(CARGO) bench --locked --bench micro

bench-setup: setup # gets the peers; a missing one is left out, and the table says so
	@tests/setup/peers

# For this machine by name: else macros and build scripts, too, report each branch to afl++, and compiling waits for them.
fuzz-setup: $(MAKERS)/bin/cargo-afl # builds the parsers for it
	cd fuzz && PATH="$(MAKERS)/bin:$$PATH" $(CARGO) afl build --locked --release --quiet --target-dir target \
	  --target "$$(rustc --version --verbose | sed -n 's/^host: //p')" $(INPUTS:%=--bin=%)

fuzz: fuzz-setup ## fuzz the parsers with afl++, MINUTES of each (tests/corpus/inputs.rs)
	fuzz/run $$(($(MINUTES) * 60)) $(INPUTS)

lint: ## check formatting, clippy's lints, documentation and the lock files, without a warning
	$(CARGO) fmt --all --check
	$(CARGO) fetch --locked --quiet --manifest-path fuzz/Cargo.toml
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
	@tests/setup/rust $(MSRV)

docs: $(MAKERS)/bin/mdbook ## build the documents as a book with a search: target/book/html
	@rm -rf $(BOOK) && mkdir -p $(BOOK)/src
	@cp --recursive --parents $(LINKED) $(BOOK)/src
	@sed -e 's#](\.\./#](#' -e t -e 's#](#](docs/#' docs/SUMMARY.md > $(BOOK)/src/SUMMARY.md
	@rm $(BOOK)/src/docs/SUMMARY.md
	$(MAKERS)/bin/mdbook build

setup: # installs what the tests need where it may, else says how
	@tests/setup/tests

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
