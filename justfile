# Recipes by group; `just` lists them.

[private]
default:
    @just --list

# What CI runs
[group('check')]
check:
    .ci/run

# Format everything
[group('check')]
fmt:
    cargo fmt

# Licences, sources and bans of the dependency tree (needs cargo-deny)
[group('check')]
deny:
    cargo deny check

# The tests: nothing but Rust and a C compiler
[group('test')]
test:
    cargo test

# The loopback Hub against Python's huggingface_hub and npm's @huggingface/hub (needs Python, node, PyPI and npm)
[group('test')]
peers:
    tests/peers/run

# The action and its workflows under act, against a Hub and a GitHub on this machine (needs Python, node, PyPI and npm)
[group('test')]
action-test *scenarios:
    tests/action/run {{scenarios}}

# The steps of the Dockerfile in a bare folder, and what comes of them as another user with a read-only root (needs root)
[group('test')]
container-test:
    tests/container/run

# Workflows, actions, scripts and the Dockerfile under four linters (needs Python and PyPI)
[group('check')]
lint-workflows:
    scripts/lint-workflows

# Rewrite what is generated: schemas, the CLI reference, the lists of codes
[group('update')]
update:
    JAMPH_UPDATE=1 cargo test

# Write the tables anew that come of the reference: architectures, pre-tokenizers, configuration classes and their test
[group('update')]
update-tables ref:
    scripts/update-architectures {{ref}}/llama.cpp
    scripts/update-pre-tokenizers {{ref}}/llama.cpp
    {{ref}}/venv/bin/python scripts/update-config-classes
    {{ref}}/venv/bin/python scripts/record-config-classes

# What the reference makes of the seeded LoRA adapters
[group('parity')]
record-adapters ref:
    scripts/record-adapters {{ref}}

# Write anew what the families' small checkpoints look like (record-parity and record-mmproj follow)
[group('update')]
make-families ref *folders:
    {{ref}}/venv/bin/python scripts/make-families {{folders}}

# Record anew what the reference makes of the seeded checkpoints; REF is a prepared reference
[group('parity')]
record-parity ref *folders:
    scripts/record-parity {{ref}} {{folders}}

# Every seeded checkpoint (or some), live against the reference's converter and llama-quantize (see scripts/record-parity)
[group('parity')]
parity-families ref *folders:
    scripts/record-parity {{ref}} --check {{folders}}

# Record anew what the reference makes of the vision towers of the seeded checkpoints that see
[group('parity')]
record-mmproj ref *folders:
    scripts/record-mmproj {{ref}} {{folders}}

# Record anew which type the reference gives each tensor, for eighteen models and every method
[group('parity')]
record-mixtures ref:
    scripts/record-mixtures {{ref}}

# Record anew what llama-quantize makes of the seeded models, by every method and with every option
[group('parity')]
record-quantize ref:
    scripts/record-quantize {{ref}}

# Record anew how the reference splits files
[group('parity')]
record-splits ref:
    scripts/record-splits {{ref}}

# A checkpoint by every method, live against the reference (see scripts/parity)
[group('parity')]
parity ref model:
    scripts/parity {{ref}} {{model}}

# SmolLM2-135M through the whole ladder, against the recorded hashes (needs Python for the download)
[group('parity')]
real:
    scripts/real

# A reader of hostile input under libFuzzer: gguf, safetensors, models_yaml, card, adapter, tekken (needs nightly and cargo-fuzz)
[group('test')]
fuzz target seconds="60":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}

# This program and the reference side by side; writes docs/benchmarks.json, its page and its picture
[group('bench')]
bench-reference ref *args:
    REF={{ref}} scripts/bench-reference {{args}}

# Streaming against the steps one after the other, with a Hub on this machine: bytes, disk, memory, time (needs Python)
[group('bench')]
measure-stream checkpoint runs="1":
    cargo build --release --locked --bins --examples
    scripts/measure-stream {{checkpoint}} {{runs}}

# The kernels by themselves
[group('bench')]
bench *args:
    cargo bench --bench kernels -- {{args}}
