# The project's tasks. `make run` and `make test` set up what they need by themselves.

PREFIX ?= /usr/local
SECONDS ?= 600

.PHONY: all run test test-long bench conformance fuzz install uninstall deps build lint format clean

all: build

deps: ## the system packages that building and testing need
	@scripts/deps

build: deps ## the command and the daemon, in .build/release
	swift build -c release --product ashlar
	swift build -c release --product ashlard
	swift build -c release --product ashlar-handler
	swift build -c release --product ashlar-tcmu-runner

run: build ## attach an image (CONFIG=config.v1.json, or the one that comes with the project), mount it, show it
	@scripts/run $(if $(CONFIG),"$(CONFIG)")

test: deps ## every test; see docs/testing.md for its parts
	@scripts/test

test-long: deps ## what takes hours: everything on each kernel, many devices, many deaths, 10,000 of each request
	swift build -c release --build-tests
	@scripts/test-examples
	@scripts/test-long

bench: build ## speed, side by side with the peers; see docs/benchmarks.md
	swift build -c release --product ashlar-bench
	@scripts/bench

conformance: build ## what SCSI test suites say of a served disk; see docs/conformance.md
	@scripts/conformance

fuzz: deps ## every fuzz target for SECONDS (600)
	@scripts/fuzz $(SECONDS)

install: deps ## the programs, without need of a Swift runtime, and their service, under PREFIX (/usr/local)
	@DESTDIR="$(DESTDIR)" scripts/install "$(PREFIX)"

uninstall:
	rm -f "$(DESTDIR)$(PREFIX)/bin/ashlar" "$(DESTDIR)$(PREFIX)/bin/ashlard" \
	  "$(DESTDIR)$(PREFIX)/bin/overlaybd-attacher" \
	  "$(DESTDIR)$(PREFIX)/bin/ashlar-handler" "$(DESTDIR)$(PREFIX)/lib/ashlar/libashlar-tcmu-runner.so" \
	  "$(DESTDIR)$(PREFIX)/libexec/ashlar/swift-backtrace" \
	  "$(DESTDIR)$(PREFIX)/lib/systemd/system/ashlard.service" \
	  "$(DESTDIR)$(PREFIX)/share/dbus-1/system-services/org.kernel.TCMUService1.service" \
	  "$(DESTDIR)$(PREFIX)/etc/dbus-1/system.d/org.kernel.TCMUService1.conf" \
	  $(if $(filter /usr /usr/local,$(PREFIX)),"$(DESTDIR)/etc/dbus-1/system.d/org.kernel.TCMUService1.conf")

lint: ## the style, as the tests check it
	swift format lint --strict --recursive Package.swift Sources Tests Fuzz Examples

format: ## puts the style right
	swift format format --in-place --recursive Package.swift Sources Tests Fuzz Examples

clean:
	rm -rf .build
