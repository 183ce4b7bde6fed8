# `make` alone lists the targets. Everything happens in .venv and rust/target; nothing else is touched.

PYTHON  ?=
CAPTURE ?= tests/data/k8s-1.36_etcd-3.6.otlp.zst

VENV := .venv
BIN  := $(VENV)/bin
LOCK := requirements-dev.txt
UV   := $(BIN)/uv pip install --quiet
CORE := k8strace/_core.abi3.so
SHARES := k8strace._core.data# where maturin looks for what a wheel puts beside the program

RUST_SOURCES := $(shell find rust/src -name '*.rs') rust/Cargo.toml rust/Cargo.lock

.NOTPARALLEL: # pip and cargo each use all cores, and both write to one place
.DELETE_ON_ERROR:
.PHONY: help pictures demo dev test check format-check lint types stubs rust bench bench-check bench-peers docs wheel wheels sbom krew release-check licenses lock clean fuzz deny

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---- what people use ------------------------------------------------------------------------------

demo: $(CORE) ## where did the time go? the report on a real capture (CAPTURE=file)
	$(BIN)/k8strace report $(CAPTURE)

test: dev ## all Python tests, and every example in README, docs and docstrings (ARGS='-k join')
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)

dev: $(VENV)/.dev $(CORE) ## editable set-up: .venv with everything, and a release build of the core

check: format-check lint types stubs rust test ## everything CI runs, but docs and the wheel

bench: dev $(VENV)/.bench ## benchmarks and the table of goals, a quarter of an hour (ARGS='--help')
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-check: dev ## the gate of CI: floors that a busy machine can hold, instruction budgets if valgrind is there
	$(BIN)/python benchmarks/run.py --gate $(ARGS)

bench-peers: dev $(VENV)/.bench ## the same as bench, and Go's pdata, which is built first
	$(BIN)/python benchmarks/run.py --peers $(ARGS)

docs: dev ## the documentation in docs/_build/html; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

pictures: dev ## the pictures of README and docs, drawn anew by Chromium; look at them before you commit them
	$(BIN)/python docs/pictures.py

# ---- the parts of check ---------------------------------------------------------------------------

format-check: $(VENV)/.dev ## formatting, Python and Rust
	$(BIN)/ruff format --check .
	cd rust && cargo fmt --check

lint: $(VENV)/.dev ## ruff
	$(BIN)/ruff check .

types: dev ## mypy --strict over the package and tests/typing
	$(BIN)/mypy

stubs: dev ## _core.pyi against the compiled module
	$(BIN)/python -m mypy.stubtest k8strace._core --ignore-disjoint-bases --mypy-config-file pyproject.toml

rust: $(VENV)/.venv ## the fuzzers' lock, clippy with and without the Python door, and the tests of the core
	@$(NEEDS_RUST)
	cd rust/fuzz && cargo update --quiet --workspace --locked
	cd rust && cargo clippy --locked --all-targets -- -D warnings
	cd rust && PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo clippy --locked --all-targets --features python -- -D warnings
	cd rust && cargo test --locked

fuzz: ## any bytes against the core, an hour a target, from a kept corpus (SECONDS=60 TARGETS='decode json')
	@$(NEEDS_RUST)
	rust/fuzz/run $(or $(SECONDS),3600) $(TARGETS)

deny: ## licences, sources and known faults of the crates, where cargo-deny is installed
	@command -v cargo-deny >/dev/null || { echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"; exit 0; }; \
	cd rust && cargo deny --all-features check licenses bans sources && { \
	cargo deny fetch db >/dev/null 2>&1 || { echo "skipped: the advisory database cannot be fetched"; exit 0; }; \
	cargo deny --all-features check advisories; }

# ---- releases and upkeep --------------------------------------------------------------------------

wheel: dev ## sdist, and the wheels of this kind of machine (glibc and musl), installed where there is no compiler
	rm -rf dist build/clean
	$(BIN)/maturin sdist --out dist
	rm -rf $(SHARES)
	$(BIN)/python .ci/shares.py $(SHARES)
	$(call BUILD_WHEEL,$(shell uname -m)-unknown-linux-gnu,manylinux2014)
	$(call BUILD_WHEEL,$(shell uname -m)-unknown-linux-musl,musllinux_1_2)
	$(BIN)/python .ci/wheel_contents.py dist
	$(BIN)/python -m venv build/clean
	$(UV) --python build/clean/bin/python --constraint $(LOCK) --only-binary :all: dist/*manylinux*.whl
	cd build && env PATH=/nonexistent clean/bin/k8strace report --slowest 0 --top 3 ../$(CAPTURE)
	cd build && env PATH=/nonexistent clean/bin/k8strace demo --no-open --html clean/demo.html

wheels: wheel ## the same for x86_64 and aarch64: all that a release uploads
	$(foreach arch,$(filter-out $(shell uname -m),x86_64 aarch64),\
		$(call BUILD_WHEEL,$(arch)-unknown-linux-gnu,manylinux2014) && \
		$(call BUILD_WHEEL,$(arch)-unknown-linux-musl,musllinux_1_2) &&) true
	$(BIN)/python .ci/wheel_contents.py dist

sbom: $(VENV)/.venv ## dist/sbom.cdx.json: what a wheel is made of, in CycloneDX
	mkdir -p dist
	$(BIN)/python .ci/sbom.py dist/sbom.cdx.json

krew: ## dist/kubectl-k8strace.tar.gz: what krew installs; the same bytes from the same sources
	mkdir -p dist
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf - -C deploy/krew kubectl-k8strace -C ../.. LICENSE \
		| gzip -n > dist/kubectl-k8strace.tar.gz

release-check: $(VENV)/.venv ## do tag, crate, chart, citation and changelog name one version? (TAG=v0.1.0)
	$(BIN)/python .ci/release_check.py "$(TAG)"

licenses: $(VENV)/.venv ## the licences of the crates in the wheel, after a change of rust/Cargo.lock
	$(BIN)/python .ci/third_party.py

lock: $(VENV)/.dev ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --universal --upgrade --all-extras --group dev --no-header --generate-hashes \
		--output-file $(LOCK) pyproject.toml

clean: ## remove everything that the other targets made
	rm -rf $(VENV) rust/target $(CORE) $(SHARES) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis

# ---- how things are made --------------------------------------------------------------------------
# One stamp file for each step in .venv, so that nothing is done twice.

# The core inside the source tree and the package, editable, in .venv: always a release build.
$(CORE): $(RUST_SOURCES) pyproject.toml $(VENV)/.build
	@$(NEEDS_RUST)
	@echo "building the core (release): two or three minutes the first time"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(UV) --python $(BIN)/python --no-build-isolation --constraint $(LOCK) \
		--reinstall-package k8strace --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.build
	$(UV) --python $(BIN)/python --require-hashes --requirement $(LOCK)
	@touch $@

# Rivals; without them the benchmarks say what they skip.
$(VENV)/.bench: $(VENV)/.dev
	-$(UV) --python $(BIN)/python --constraint $(LOCK) --group bench
	@touch $@

# Only what builds the core; the base dependencies come with the package, pinned by the same lock.
# pip installs uv, and uv the rest: it takes the lock, with its hashes, as constraints too.
$(VENV)/.build: $(VENV)/.venv $(LOCK)
	sed -n '/^uv==/,/[^\\]$$/p' $(LOCK) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(VENV)/uv.txt
	$(UV) --python $(BIN)/python --constraint $(LOCK) maturin
	@touch $@

$(VENV)/.venv:
	@$(NEEDS_PYTHON)
	@$(NEEDS_RUST)
	@"$$($(FIND_PYTHON))" -m venv --clear $(VENV)
	@touch $@

# $(call BUILD_WHEEL,target,platform): with zig as the C compiler and linker, so that any machine builds for all, and
# against the oldest libc that the platform's tag promises. rustup brings the target's standard library.
BUILD_WHEEL = { rustup target add $(1) 2>/dev/null || test -d "$$(rustc --print sysroot)/lib/rustlib/$(1)"; } \
	&& PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --quiet --release --zig --target $(1) --compatibility $(2) --out dist

# ---- what must be there already -------------------------------------------------------------------

RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' rust/Cargo.toml)

FIND_PYTHON = for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$python" && break; done

define NEEDS_PYTHON
test -n "$$($(FIND_PYTHON))" || { \
	echo "k8strace needs Python 3.11 or newer with its venv module: install python3 (on Debian and Ubuntu python3-venv too), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
endef

define NEEDS_RUST
command -v cargo >/dev/null || { \
	echo "k8strace needs Rust $(RUST_VERSION) or newer to build its core: install cargo (with rustup, or your system's packages) and put it on the PATH" >&2; exit 1; }; \
cargo --version | awk -v need=$(RUST_VERSION) '{ split($$2, have, "."); split(need, want, "."); exit !(have[1] > want[1] || have[1] == want[1] && have[2] + 0 >= want[2] + 0) }' || { \
	echo "k8strace needs Rust $(RUST_VERSION) or newer to build its core, and this is $$(cargo --version): update it (rustup update)" >&2; exit 1; }; \
command -v "$${CC:-cc}" >/dev/null || { \
	echo "k8strace needs a C compiler to build its core: install gcc or clang (on Debian and Ubuntu build-essential)" >&2; exit 1; }
endef
