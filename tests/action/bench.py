"""What the scenarios stand on: a consumer's repository, the action's repository as consumers see it, and act's records.

Nothing here knows what is right; scenarios.py says that.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ACTION = "navikt/jamph-quantizer"
CONSUMER = "me/models"
# The workflows name these; only their names matter to act.
STUBS = {"actions/cache": "cache", "actions/upload-artifact": "upload-artifact", "actions/download-artifact": "download-artifact"}


def git(folder, *arguments):
    name = ["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


def for_act(text):
    """A workflow without what act 0.2.89 does not know.

    `$/action` (nektos/act#6189) becomes the name that means the same; `queue: max` goes: act has no queues.
    """
    assert text.count("queue: max") <= 1, text
    text = re.sub(r"^ *queue: max\b.*\n", "", text, flags=re.M)
    return text.replace("uses: $/action\n", f"uses: {ACTION}/action@v0\n")


def action_repository(into, program, released):
    """This repository as its release has it: the files that git has, and a release.txt with the sum of `program`.

    The archive goes to `released`. The workflow is changed `for_act` alone.
    """
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for file in filter(None, files):
        if file.split("/")[0] in ("action", "action.yml", ".github", "Cargo.toml"):
            (into / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, into / file)
    workflow = into / ".github/workflows/quantize.yml"
    text = workflow.read_text()
    assert text.count("uses: $/action\n") == 3, text
    workflow.write_text(for_act(text))

    version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    archive = released / f"jamph-quantizer-{version}-x86_64-unknown-linux-musl.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(program, "jamph-quantizer")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    sums = released / "SHA256SUMS"
    sums.write_text(f"{digest}  {archive.name}\n")
    return version, sums, archive


def pins():
    """Every third-party action that the workflows name, with its commit."""
    found = set()
    for file in [ROOT / "action.yml", *ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/workflows/*.yml")]:
        found |= set(re.findall(r"uses: ([\w.-]+/[\w.-]+)[\w/.-]*@([0-9a-f]{40})", file.read_text()))
    return found


class Run:
    """What came of one `act`: its records, its exit code, and where it wrote."""

    def __init__(self, records, code, artifacts, raw):
        self.records, self.code, self.artifacts, self.raw = records, code, artifacts, raw

    def jobs(self):
        """Result by the id of the job; a matrix has one of several names."""
        return {record["job"].strip(): record["jobResult"] for record in self.records if "jobResult" in record}

    def commands(self, *kinds):
        return [record for record in self.records if record.get("command") in kinds]

    def outputs(self):
        return {record["name"]: record.get("arg", "") for record in self.commands("set-output")}

    def summary(self):
        return "\n".join(record["content"] for record in self.commands("summary"))

    def text(self):
        return "\n".join(str(record.get("msg", "")) for record in self.records)


class Bench:
    def __init__(self, work, act, node_modules, program, hub, github):
        self.work, self.act, self.node_modules, self.program = work, act, node_modules, program
        self.hub, self.github = hub, github
        self.action = work / "action-repository"
        self.released = work / "released"
        self.action.mkdir()
        self.released.mkdir()
        self.version, self.sums, self.archive = action_repository(self.action, program, self.released)
        self.consumers = 0
        self.runs = []

    def pin_release(self, url):
        text = subprocess.run(
            [ROOT / "scripts/release-txt", self.version, url, self.sums], check=True, capture_output=True, text=True
        ).stdout
        (self.action / "action/release.txt").write_text(text)

    def consumer(self, files, name=None):
        """A repository with these files: text by path."""
        self.consumers += 1
        folder = self.work / f"{name or 'consumer'}-{self.consumers}"
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        git(folder, "init", "--quiet")
        git(folder, "remote", "add", "origin", f"https://github.com/{CONSUMER}")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Models")
        return folder

    def run(self, consumer, event, payload=None, workflow=None, secrets=None, env=None, cache=None):
        """Runs act as a new runner would: with nothing in its home, and with the caches of `cache`."""
        number = len(self.runs)
        home = self.work / f"run-{number}"
        artifacts = home / "artifacts"
        artifacts.mkdir(parents=True)
        (home / "event.json").write_text(json.dumps(payload or {}))
        arguments = [
            self.act, event, "--json", "--insecure-secrets", "--platform", "ubuntu-latest=-self-hosted",
            "--eventpath", home / "event.json", "--action-cache-path", home / "act",
            "--cache-server-addr", "127.0.0.1", "--cache-server-path", cache or home / "caches",
            "--local-repository", f"{ACTION}@v0={self.action}",
        ]
        for name, commit in pins():
            if name in STUBS:
                arguments += ["--local-repository", f"{name}@{commit}={ROOT / 'tests/action/stubs' / STUBS[name]}"]
        if workflow:
            arguments += ["--workflows", f".github/workflows/{workflow}"]
        for name, value in (secrets or {}).items():
            arguments += ["--secret", f"{name}={value}"]
        values = {
            "GITHUB_REPOSITORY": CONSUMER, "GITHUB_API_URL": self.github, "NODE_MODULES": self.node_modules,
            "ARTIFACTS": artifacts, "HF_ENDPOINT": self.hub, "HOME": self.work / "home-of-runner", **(env or {}),
        }
        for name, value in values.items():
            arguments += ["--env", f"{name}={value}"]
        # act gives jobs its own environment: it has none of ours.
        shutil.rmtree(self.work / "home-of-runner", ignore_errors=True)
        (self.work / "home-of-runner").mkdir()
        done = subprocess.run(
            arguments, cwd=consumer, capture_output=True, text=True, timeout=600,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "RUNNER_ENVIRONMENT": "self-hosted"},
        )
        records = []
        for line in done.stdout.splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                records.append({"msg": line})
        run = Run(records, done.returncode, artifacts, done.stdout + done.stderr)
        (home / "log.jsonl").write_text(run.raw)
        self.runs.append(run)
        return run


def forms(secret):
    """A secret as it may be written: plain, in base64 (any alignment, either alphabet), in hexadecimal, in a URL."""
    raw = secret.encode()
    found = {secret, raw.hex(), urllib.parse.quote(secret, safe="")}
    found.add("".join(f"%{byte:02X}" for byte in raw))
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + raw).decode()
            # The first and the last characters depend on the neighbours.
            start = (before * 8 + 5) // 6
            text = text[start : len(text) - 4]
            found.add(text)
    return {text for text in found if len(text) >= 12}


def api(address, path):
    with urllib.request.urlopen(address + path) as answer:
        return json.load(answer)
