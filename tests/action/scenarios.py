"""What must come of each event. Run by tests/action/run; each function below is a scenario, in the order of the file.

A scenario raises where something is not as it must be. After all of them, no output of any run may have a token in it.
"""

import argparse
import functools
import http.server
import io
import json
import re
import shutil
import sys
import tarfile
import threading
from pathlib import Path

from bench import ACTION, CONSUMER, ROOT, Bench, api, for_act, forms
from github import GitHub

# llama.cpp, as the program takes it where a models.yaml does not say which.
TAG, COMMIT = "b11312", "0c1e57098bba43ac29e6e3b677cdceebdd22334f"

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def example(name):
    return for_act((ROOT / f"examples/workflows/{name}.yml").read_text())


def models(*entries, methods="[Q8_0, Q4_K_M]", more=""):
    return f"version: 1\n{more}defaults:\n  methods: {methods}\n  publish: {{ owner: me }}\nmodels:\n" + "".join(
        f"  - {entry}\n" for entry in entries
    )


def expect(condition, text, run=None):
    if not condition:
        if run:
            print(run.text()[-6000:], file=sys.stderr)
            print("jobs:", run.jobs(), "exit code:", run.code, file=sys.stderr)
        raise AssertionError(text)


def jobs(run, wanted):
    """The results of the jobs by the last part of their names, a matrix without its number."""
    found = {re.sub(r"-\d+$", "", name.split("quantize/", 2)[-1]): result for name, result in run.jobs().items()}
    expect(found == wanted, f"jobs: {found}, not {wanted}", run)


class World:
    """The servers, and the secrets of the consumer."""

    def __init__(self, bench, github, hub_token, identity, stand_in):
        self.bench, self.github, self.identity, self.stand_in = bench, github, identity, stand_in
        self.secrets = {"HF_TOKEN": hub_token, "GITHUB_TOKEN": github.token}
        self.github_only = {"GITHUB_TOKEN": github.token}
        # What GitHub gives a workflow of a fork's pull request.
        self.fork_only = {"GITHUB_TOKEN": github.reading}

    def files(self, repo):
        try:
            return {entry["path"] for entry in api(self.bench.hub, f"/api/models/{repo}/tree/main")}
        except OSError:
            return set()

    def issues(self):
        return api(self.bench.github, f"/repos/{CONSUMER}/issues?state=all")

    def comments(self, number):
        return api(self.bench.github, f"/repos/{CONSUMER}/issues/{number}/comments")


def pull_request(number, fork):
    head = {"ref": "change", "sha": "1" * 40, "repo": {"full_name": "stranger/models" if fork else CONSUMER, "fork": fork}}
    return {
        "action": "synchronize",
        "number": number,
        "pull_request": {"number": number, "head": head, "base": {"ref": "main", "repo": {"full_name": CONSUMER}}},
        "repository": {"full_name": CONSUMER},
    }


@scenario
def schedule_publishes_and_then_finds_nothing_to_do(world):
    bench = world.bench
    files = {
        "models.yaml": models("source: org/tiny\n    name: alpha", "source: org/tiny\n    name: beta\n    methods: [Q6_K]"),
        ".github/workflows/quantize.yml": example("quantize"),
    }
    consumer = bench.consumer(files)
    run = bench.run(consumer, "schedule", secrets=world.secrets)
    expect(run.code == 0, "the run failed", run)
    jobs(run, {"Plan": "success", "me/alpha": "success", "me/beta": "success", "Report": "success"})
    expect({"alpha-q8_0.gguf", "alpha-q4_k_m.gguf", "README.md"} <= world.files("me/alpha"), "alpha is not there", run)
    expect("beta-q6_k.gguf" in world.files("me/beta"), "beta is not there", run)
    expect(sorted(json.loads(run.outputs()["published"])) == ["me/alpha", "me/beta"], "published", run)
    expect(json.loads(run.outputs()["failed"]) == [], "failed", run)
    expect("me/alpha" in run.summary() and "Q4_K_M" in run.summary(), "the summary", run)
    expect(not run.commands("error"), "there are errors", run)
    expect(world.issues() == [], "an issue was opened though all is well", run)

    again = bench.run(consumer, "schedule", secrets=world.secrets)
    expect(again.code == 0, "the second run failed", again)
    jobs(again, {"Plan": "success", "Report": "success"})
    expect(json.loads(again.outputs()["published"]) == [], "published again", again)


@scenario
def push_does_what_changed(world):
    bench = world.bench
    workflow = {".github/workflows/quantize.yml": example("quantize")}

    def push(methods):
        text = models("source: org/tiny\n    name: changing", methods=methods)
        run = bench.run(bench.consumer({"models.yaml": text, **workflow}), "push", secrets=world.secrets)
        expect(run.code == 0, "the run failed", run)
        jobs(run, {"Plan": "success", "me/changing": "success", "Report": "success"})
        return run, world.files("me/changing")

    _, before = push("[Q8_0, Q4_K_M]")
    run, after = push("[Q8_0, Q4_K_M, Q2_K]")
    expect(after - before == {"changing-q2_k.gguf"}, f"new: {after - before}", run)
    made = [line for line in run.text().splitlines() if "QTZ-001" in line]
    expect(len(made) == 1 and "Q2_K" in made[0] and "Q8_0" not in made[0], f"made: {made}", run)


@scenario
def dispatch_heeds_its_inputs_and_runs_none_of_them(world):
    bench = world.bench
    files = {
        "models.yaml": models("source: org/tiny\n    name: gamma", "source: org/tiny\n    name: delta"),
        ".github/workflows/quantize.yml": example("quantize"),
    }
    consumer = bench.consumer(files)

    def dispatch(**inputs):
        values = {"only": "", "methods": "", "dry-run": "false", "force": "false"}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}
        return bench.run(consumer, "workflow_dispatch", payload={"inputs": values}, secrets=world.secrets)

    run = dispatch(only="delta", methods="Q8_0", dry_run="true")
    expect(run.code == 0, "the plan failed", run)
    jobs(run, {"Plan": "success"})
    expect("delta" in run.summary() and "gamma" not in run.summary(), "the plan is of delta alone", run)
    expect(world.files("me/delta") == set(), "a plan published", run)

    run = dispatch(only="delta", methods="Q8_0")
    jobs(run, {"Plan": "success", "me/delta": "success", "Report": "success"})
    expect("delta-q8_0.gguf" in world.files("me/delta") and "delta-q4_k_m.gguf" not in world.files("me/delta"), "methods", run)
    expect(world.files("me/gamma") == set(), "gamma was not asked for", run)

    run = dispatch(only="delta", methods="Q8_0", force="true")
    jobs(run, {"Plan": "success", "me/delta": "success", "Report": "success"})

    run = dispatch(only="x'; touch \"$HOME/pwned\" #`touch $HOME/pwned`\n::error::injected")
    expect(run.code != 0, "there is no such model", run)
    expect(not list(bench.work.rglob("pwned")), "an input was run", run)
    expect(not any(record.get("arg") == "injected" for record in run.commands("error")), "an input became a command", run)


@scenario
def repository_dispatch_names_a_model(world):
    bench = world.bench
    files = {
        "models.yaml": models("source: org/tiny\n    name: epsilon", "source: org/tiny\n    name: zeta", methods="[Q8_0]"),
        ".github/workflows/quantize.yml": example("quantize"),
    }
    payload = {"action": "quantize", "client_payload": {"only": "zeta"}}
    run = bench.run(bench.consumer(files), "repository_dispatch", payload=payload, secrets=world.secrets)
    expect(run.code == 0, "the run failed", run)
    jobs(run, {"Plan": "success", "me/zeta": "success", "Report": "success"})


@scenario
def a_release_gets_report_checksums_and_metadata(world):
    bench = world.bench
    files = {
        "models.yaml": models("source: org/tiny\n    name: eta", methods="[Q8_0]"),
        ".github/workflows/release.yml": example("release"),
    }
    release = api(bench.github, f"/repos/{CONSUMER}/releases/tags/v1.0.0")
    payload = {"action": "published", "release": release, "repository": {"full_name": CONSUMER}}
    run = bench.run(
        bench.consumer(files), "release", payload=payload, secrets=world.secrets, env={"GITHUB_REF": "refs/tags/v1.0.0"}
    )
    expect(run.code == 0, "the run failed", run)
    expect(run.jobs().get("Quantize for a release/Attach") == "success", "nothing was attached", run)
    names = {asset["name"] for asset in api(bench.github, f"/repos/{CONSUMER}/releases/tags/v1.0.0")["assets"]}
    expect({"quantization-report.md", "SHA256SUMS", "quantization-results.json"} <= names, f"attached: {names}", run)
    expect(any(name.endswith("quantization_metadata.json") for name in names), f"attached: {names}", run)


@scenario
def a_pull_request_gets_one_comment_that_is_kept_up_to_date(world):
    bench = world.bench
    workflow = {".github/workflows/plan.yml": example("pull-request")}
    consumer = bench.consumer({"models.yaml": models("source: org/tiny\n    name: theta"), **workflow})
    run = bench.run(consumer, "pull_request", payload=pull_request(7, fork=False), secrets=world.github_only)
    expect(run.code == 0, "the plan failed", run)
    [first] = world.comments(7)
    expect("theta" in first["body"], "the comment", run)

    consumer = bench.consumer({"models.yaml": models("source: org/tiny\n    name: iota"), **workflow})
    run = bench.run(consumer, "pull_request", payload=pull_request(7, fork=False), secrets=world.github_only)
    [second] = world.comments(7)
    expect(second["id"] == first["id"] and "iota" in second["body"], "the comment is updated in place", run)

    broken = {"models.yaml": "version: 1\nmodels:\n  - source: org/tiny\n    methods: [Q4_K_N]\n", **workflow}
    run = bench.run(bench.consumer(broken), "pull_request", payload=pull_request(7, fork=False), secrets=world.github_only)
    expect(run.code != 0, "a wrong models.yaml passes", run)
    places = [(record["kvPairs"].get("file"), record["kvPairs"].get("line")) for record in run.commands("error")]
    expect(("models.yaml", "4") in places, f"annotations: {places}", run)
    [third] = world.comments(7)
    expect("Q4_K_N" in third["body"], "the comment says what is wrong", run)


@scenario
def a_fork_only_plans(world):
    bench = world.bench
    files = {"models.yaml": models("source: org/tiny\n    name: kappa"), ".github/workflows/plan.yml": example("pull-request")}
    run = bench.run(bench.consumer(files), "pull_request", payload=pull_request(8, fork=True), secrets=world.fork_only)
    expect(run.code == 0, "the plan failed", run)
    expect(world.comments(8) == [] and not run.commands("warning"), "a fork's plan tried to comment", run)
    expect("kappa" in run.summary(), "the plan is in the summary", run)

    # The reusable workflow, though its caller would let it do everything.
    caller = example("quantize").replace("on:\n", "on:\n  pull_request:\n", 1)
    files = {"models.yaml": models("source: org/tiny\n    name: kappa"), ".github/workflows/quantize.yml": caller}
    for fork in [True, False]:
        secrets = world.fork_only if fork else world.secrets
        run = bench.run(bench.consumer(files), "pull_request", payload=pull_request(9, fork), secrets=secrets)
        expect(run.code == 0, "the plan failed", run)
        jobs(run, {"Plan": "success"})
        expect(world.files("me/kappa") == set(), "a pull request published", run)
    expect(len(world.comments(9)) == 1, "the pull request of this repository has its comment", run)


@scenario
def one_that_fails_harms_no_other_and_opens_an_issue_until_it_works(world):
    bench = world.bench
    workflow = {".github/workflows/quantize.yml": example("quantize")}
    entries = ["source: org/tiny\n    name: lambda", "source: org/missing\n    name: mu"]
    consumer = bench.consumer({"models.yaml": models(*entries, methods="[Q8_0]"), **workflow})
    run = bench.run(consumer, "schedule", secrets=world.secrets)
    expect(run.code != 0, "the failure is not seen", run)
    results = run.jobs()
    expect([result for name, result in results.items() if "me/lambda" in name] == ["success"], "lambda", run)
    expect([result for name, result in results.items() if "me/mu" in name] == ["failure"], "mu", run)
    expect("lambda-q8_0.gguf" in world.files("me/lambda"), "the other one is not published", run)
    places = [(record["kvPairs"].get("file"), record["kvPairs"].get("line")) for record in run.commands("error")]
    line = str(1 + consumer.joinpath("models.yaml").read_text().splitlines().index("  - source: org/missing"))
    expect(("models.yaml", line) in places, f"annotations: {places}, not at line {line}", run)
    [issue] = world.issues()
    expect(issue["state"] == "open" and "mu" in issue["body"], "the issue", run)

    run = bench.run(consumer, "schedule", secrets=world.secrets)
    expect(len(world.issues()) == 1 and world.issues()[0]["state"] == "open", "there is another issue", run)

    mended = bench.consumer({"models.yaml": models(entries[0], methods="[Q8_0]"), **workflow})
    run = bench.run(mended, "schedule", secrets=world.secrets)
    expect(run.code == 0, "the mended run failed", run)
    expect([issue["state"] for issue in world.issues()] == ["closed"], "the issue is not closed", run)


@scenario
def a_workflow_that_the_hub_trusts_needs_no_token(world):
    bench = world.bench
    files = {
        "models.yaml": models("source: org/tiny\n    name: trusted-tiny", methods="[Q8_0]"),
        ".github/workflows/quantize.yml": example("quantize"),
    }
    # Such a token cannot create a repository: the first method goes there with the secret.
    run = bench.run(bench.consumer(files), "push", secrets=world.secrets)
    expect(run.code == 0, "the run failed", run)
    files["models.yaml"] = models("source: org/tiny\n    name: trusted-tiny", methods="[Q8_0, Q6_K]")
    consumer = bench.consumer(files)
    run = bench.run(consumer, "push", secrets=world.github_only)
    expect(run.code != 0, "it published without any right", run)
    run = bench.run(consumer, "push", secrets=world.github_only, env=world.identity)
    expect(run.code == 0, "the run failed", run)
    expect("trusted-tiny-q6_k.gguf" in world.files("me/trusted-tiny"), "nothing was published", run)


def tar_gz(members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o755
            tar.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def stand_ins(world):
    """The archive of a release of llama.cpp whose programs are the tests' own stand-in."""
    folder = world.bench.work / "stand-ins"
    folder.mkdir()
    # The stand-in notes its calls beside what it was started as: not in the cache, whose files may not change.
    return tar_gz({
        f"llama-{TAG}/{tool}": f'#!/bin/bash\nexec -a "{folder}/{tool}" "{world.stand_in}" "$@"\n'
        for tool in ["llama-imatrix", "llama-perplexity", "llama-completion"]
    })


@scenario
def a_build_of_llama_cpp_comes_from_the_cache_the_second_time(world):
    bench = world.bench
    name = f"llama-{TAG}-bin-ubuntu-x64.tar.gz"
    release = world.github.release("ggml-org/llama.cpp", TAG, [(name, stand_ins(world))], COMMIT)
    world.github.sources["ggml-org/llama.cpp", COMMIT] = tar_gz({f"llama.cpp-{COMMIT[:7]}/convert_hf_to_gguf.py": "# the converter\n"})
    archive = f"/releases/assets/{release['assets'][0]['id']}"
    caches = bench.work / "caches"

    def run(event, model, caches=caches, **more):
        files = {
            "models.yaml": models(f"source: org/tiny\n    name: {model}", methods="[Q8_0]").replace(
                "defaults:\n", "defaults:\n  check: true\n"
            ),
            ".github/workflows/quantize.yml": example("quantize"),
        }
        before = len(world.github.reads)
        done = bench.run(bench.consumer(files), event, secrets=world.secrets, cache=caches, **more)
        expect(done.code == 0, "the run failed", done)
        fetched = sum(archive in path for path in world.github.reads[before:])
        said = re.findall(r"cache (miss|hit|saved): (jamph-llama\.cpp-linux-x86_64-\S+)", done.text())
        return done, fetched, [what for what, _ in said], {key for _, key in said}

    # What only reads leaves nothing.
    done, fetched, said, _ = run("workflow_dispatch", "cached-a", payload={"inputs": {}})
    expect((fetched, said) == (1, ["miss"]), f"dispatch: {fetched} downloads, {said}", done)
    done, fetched, said, keys = run("push", "cached-b")
    expect((fetched, said) == (1, ["miss", "saved"]), f"first push: {fetched} downloads, {said}", done)
    expect(len(keys) == 1, f"keys: {keys}", done)
    done, fetched, said, again = run("push", "cached-c")
    expect((fetched, said) == (0, ["hit"]), f"second push: {fetched} downloads, {said}", done)
    expect(again == keys, f"keys: {keys}, then {again}", done)
    done, fetched, said, _ = run("workflow_dispatch", "cached-d", payload={"inputs": {}})
    expect((fetched, said) == (0, ["hit"]), f"dispatch: {fetched} downloads, {said}", done)


STEPS = """\
on: push
permissions: {{}}
jobs:
  job:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - id: action
        uses: {action}@v0
        with: {{ {inputs} }}
      - run: {run}
"""


@scenario
def the_action_alone(world):
    bench = world.bench

    def run(inputs, script="true", files=None, **more):
        text = STEPS.format(action=ACTION, inputs=inputs, run=script)
        consumer = bench.consumer({"models.yaml": models("source: org/tiny\n    name: nu"), **(files or {}),
                                   ".github/workflows/w.yml": text})
        return bench.run(consumer, "push", **more)

    installed = run("command: install", "jamph-quantizer --version")
    expect(installed.code == 0 and f"jamph-quantizer {bench.version}" in installed.text(), "the program is on the PATH", installed)
    done = run("command: process, source: org/tiny, methods: Q8_0, skip-upload: true, working-directory: sub",
               "test -f sub/output/tiny-q8_0/tiny-q8_0.gguf -a -f sub/jamph-results/process.json", {"sub/x": ""})
    expect(done.code == 0, "process", done)
    done = run('command: validate, arguments: "--quiet"')
    expect(done.code == 0, "validate", done)
    for inputs, text in [
        ("command: rm", "none of run, plan"),
        ("force: maybe", "the input force is neither true nor false"),
        ("job: ../../x", "the input job is no id of a job"),
        ("command: process", "the input source says what to process"),
    ]:
        refused = run(inputs)
        expect(refused.code != 0 and text in refused.text(), f"{inputs}: not refused", refused)


@scenario
def nothing_is_run_that_the_action_does_not_pin(world):
    bench = world.bench
    listed = (bench.action / "action/release.txt").read_text()
    consumer = bench.consumer({
        "models.yaml": models("source: org/tiny"),
        ".github/workflows/w.yml": STEPS.format(action=ACTION, inputs="command: validate", run="true"),
    })

    def refused(text, why):
        run = bench.run(consumer, "push")
        expect(run.code != 0 and why in run.text(), f"not refused: {why}", run)
        expect("is valid" not in run.text() and f"jamph-quantizer {bench.version}" not in run.text(), "it ran", run)

    whole = bench.archive.read_bytes()
    try:
        bench.archive.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        refused(listed, "its sha256 differs")
        bench.archive.unlink()
        refused(listed, "could not be downloaded")
        bench.archive.write_bytes(whole)
        for text, why in [
            (re.sub("(?m)^version .*", "version 0.0.1", listed), "has no released program"),
            (re.sub("(?m)^[0-9a-f]{64}.*\n", "", listed), "has no program for x86_64"),
            ("# nothing\n", "has no released program"),
        ]:
            (bench.action / "action/release.txt").write_text(text)
            refused(text, why)
    finally:
        bench.archive.write_bytes(whole)
        (bench.action / "action/release.txt").write_text(listed)
    run = bench.run(consumer, "push")
    expect(run.code == 0, "the pinned program is refused", run)


def leaks(world):
    """Every place that has a token in it, of what the runs showed and kept, and of what was written on GitHub."""
    github = world.github
    secrets = {name: value for name, value in {**world.secrets, **world.identity}.items() if "URL" not in name}
    secrets["GITHUB_TOKEN of a fork"] = github.reading
    places = {"GitHub": [json.dumps([list(github.issues.values()), list(github.comments.values())])]}
    places["GitHub"] += [content.decode(errors="replace") for content in github.assets.values()]
    for number, run in enumerate(world.bench.runs):
        # A mask names what it masks; GitHub itself does not show it.
        shown = [line for line in run.raw.splitlines() if "add-mask" not in line]
        shown += [file.read_text(errors="replace") for file in run.artifacts.rglob("*") if file.is_file()]
        places[f"run {number}"] = shown
    for place, shown in places.items():
        for name, value in secrets.items():
            if any(form in text for form in forms(value) for text in shown):
                yield f"{place} shows {name}"


def serve(folder):
    """The folder with the released program, as GitHub would serve it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def exports(file):
    found = re.findall(r"^ *export (\w+)='?(.*?)'?$", file.read_text(), re.M)
    return dict(found)


def main():
    parser = argparse.ArgumentParser()
    for name in ["act", "node-modules", "program", "stand-in", "hub", "work"]:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("scenario", nargs="*")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    options.work.mkdir(parents=True)
    hub, github = exports(options.hub), GitHub()
    github.release(CONSUMER, "v1.0.0")
    identity = {name: value for name, value in hub.items() if name.startswith("ACTIONS_ID_TOKEN")}
    bench = Bench(
        options.work.resolve(), options.act, options.node_modules.resolve(), options.program.resolve(),
        hub["HF_ENDPOINT"], github.api,
    )
    bench.pin_release(serve(bench.released))
    world = World(bench, github, hub["HF_TOKEN"], identity, options.stand_in.resolve())
    failed = 0
    for function in SCENARIOS:
        name = function.__name__.replace("_", " ")
        if options.scenario and not any(part in name for part in options.scenario):
            continue
        before = len(bench.runs)
        try:
            function(world)
            print(f"ok      {name} ({len(bench.runs) - before} runs)", flush=True)
        except Exception as error:  # every scenario has its turn
            failed += 1
            print(f"FAILED  {name}: {error} (run {len(bench.runs) - 1})", flush=True)
    shown = list(leaks(world))
    print("\n".join(shown) or f"no token in the output of {len(bench.runs)} runs")
    sys.exit(1 if failed or shown else 0)


main()
