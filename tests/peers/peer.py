"""Python's huggingface_hub against the Hub at HF_ENDPOINT: uploads, changes, downloads, compares bytes.

peer.py FOLDER    works in FOLDER; HF_TOKEN is a write token. With HF_HUB_DISABLE_XET=1 large files go by LFS.
Prints a line a step; the first difference ends it with exit code 1.
"""

import hashlib
import random
import sys
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub._oidc import exchange_oidc_token, get_oidc_token
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session
from huggingface_hub.utils._runtime import is_xet_available

work = Path(sys.argv[1])
api = HfApi()
kind = "xet" if is_xet_available() else "lfs"
me = api.whoami()["name"]
repo = f"{me}/from-python-{kind}"


def step(text):
    print(f"python {kind}: {text}", flush=True)


def noise(seed, size):
    """Bytes that differ from place to place and between Xet and LFS, the same in every run."""
    return random.Random(f"{kind} {seed}").randbytes(size)


def check(name, found, expected):
    if found != expected:
        sys.exit(f"{name}: {str(found)[:200]!r} is not {str(expected)[:200]!r}")


def refused(error, call):
    try:
        call()
    except error as e:
        return e
    sys.exit(f"{call} was not refused")


files = {
    "README.md": b"---\nlicense: apache-2.0\ntags:\n- gguf\n---\n\n# From Python\n",
    "config.json": b"{}\n",
    "empty.txt": b"",
    "model-Q4_K_M.gguf": noise(1, 12_345_678),
    "model-Q8_0.gguf": noise(2, 700_001),
    "folder/inner/model.safetensors": noise(3, 1_000_003),
    "folder/with a space \u00e4.txt": "\u00e4\n".encode(),
}
folder = work / "upload"
for path, content in files.items():
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)


def same_as(expected, revision=None):
    """The listing and a snapshot are these files."""
    tree = {f.path: f for f in api.list_repo_tree(repo, recursive=True, revision=revision) if hasattr(f, "blob_id")}
    check("listing", sorted(set(tree) - {".gitattributes"}), sorted(expected))
    for path, content in expected.items():
        check(f"size of {path}", tree[path].size, len(content))
        if tree[path].lfs:
            check(f"sha256 of {path}", tree[path].lfs.sha256, hashlib.sha256(content).hexdigest())
        else:
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            check(f"blob of {path}", tree[path].blob_id, git)
    got = Path(api.snapshot_download(repo, revision=revision, cache_dir=work / "cache"))
    for path, content in expected.items():
        check(f"bytes of {path}", (got / path).read_bytes(), content)


refused(RepositoryNotFoundError, lambda: api.model_info(repo))
check("url", str(api.create_repo(repo)), f"{constants.ENDPOINT}/{repo}")
api.create_repo(repo, exist_ok=True)
refused(HfHubHTTPError, lambda: api.create_repo(repo))
refused(HfHubHTTPError, lambda: api.create_repo("somebody-else/model"))
step("create_repo: makes it once, refuses another's namespace")

first = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="a folder")
check("head", api.model_info(repo).sha, first.oid)
same_as(files)
tree = {f.path: f for f in api.list_repo_tree(repo, recursive=True) if hasattr(f, "blob_id")}
check("in LFS", sorted(p for p, f in tree.items() if f.lfs), sorted(p for p in files if "model" in p))
check("in Xet", all(bool(f.xet_hash) == (kind == "xet") for f in tree.values() if f.lfs), True)
step(f"upload_folder: {len(files)} files, {sum(map(len, files.values()))} bytes; listing and snapshot are the same")

again = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="again")
check("head", again.oid, first.oid)
step("upload_folder again: nothing is sent, no commit")

files["small.txt"] = b"small\n"
second = api.upload_file(repo_id=repo, path_or_fileobj=files["small.txt"], path_in_repo="small.txt")
files["model-Q8_0.gguf"] = files["model-Q8_0.gguf"][:350_000] + b"changed" + files["model-Q8_0.gguf"][350_000:]
changed = work / "changed.gguf"
changed.write_bytes(files["model-Q8_0.gguf"])
third = api.upload_file(
    repo_id=repo, path_or_fileobj=changed, path_in_repo="model-Q8_0.gguf", parent_commit=second.oid
)
same_as(files)
step("upload_file: a small one from memory, a changed large one on its parent")

stale = refused(
    HfHubHTTPError,
    lambda: api.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x", parent_commit=second.oid),
)
check("status", stale.response.status_code, 412)
refused(
    ValueError,
    lambda: api.upload_file(repo_id=repo, path_or_fileobj=b"---\nlicense: [\n---\n", path_in_repo="README.md"),
)
check("head", api.model_info(repo).sha, third.oid)
step("refused: a stale parent (412), a card whose YAML is broken; the head is as it was")

proposal = api.create_commit(
    repo,
    [CommitOperationAdd("proposed.gguf", noise(4, 11_000_000)), CommitOperationDelete("config.json")],
    commit_message="a proposal",
    create_pr=True,
)
check("pull request", (proposal.pr_num, proposal.pr_revision), (1, "refs/pr/1"))
proposed = {**files, "proposed.gguf": noise(4, 11_000_000)}
del proposed["config.json"]
same_as(proposed, revision="refs/pr/1")
same_as(files)
refs = api.list_repo_refs(repo, include_pull_requests=True)
check("branches", [(b.name, b.target_commit) for b in refs.branches], [("main", third.oid)])
check("pull requests", [(p.ref, p.target_commit) for p in refs.pull_requests], [("refs/pr/1", proposal.oid)])
step("create_pr: refs/pr/1 has the change, main does not")

api.delete_file("small.txt", repo)
api.create_commit(repo, [CommitOperationDelete("folder/", is_folder=True)], commit_message="no folder")
left = {p: c for p, c in files.items() if p != "small.txt" and not p.startswith("folder/")}
same_as(left)
same_as(files, revision=third.oid)
step("delete_file and a folder: gone from main, there in the history")

large = "model-Q4_K_M.gguf"
got = api.hf_hub_download(repo, large, local_dir=work / "local")
check(large, Path(got).read_bytes(), files[large])
url = f"{constants.ENDPOINT}/{repo}/resolve/main/{large}"
for start, end in [(0, 1), (5_000_000, 5_000_999), (len(files[large]) - 10, len(files[large]) - 1)]:
    part = get_session().get(url, headers={"Range": f"bytes={start}-{end}"}, follow_redirects=True)
    check("status", part.status_code, 206)
    check(f"bytes {start}-{end}", part.content, files[large][start : end + 1])
refused(EntryNotFoundError, lambda: api.hf_hub_download(repo, "none.gguf"))
refused(RevisionNotFoundError, lambda: api.hf_hub_download(repo, large, revision="none"))
step("hf_hub_download and ranges: the same bytes; what is not there is refused as such")

private = f"{repo}-private"
api.create_repo(private, private=True)
api.upload_file(repo_id=private, path_or_fileobj=b"secret", path_in_repo="secret.txt")
check("private", api.model_info(private).private, True)
check("secret", Path(api.hf_hub_download(private, "secret.txt", cache_dir=work / "cache")).read_bytes(), b"secret")
refused(RepositoryNotFoundError, lambda: HfApi(token=False).model_info(private))
api.delete_repo(private)
refused(RepositoryNotFoundError, lambda: api.model_info(private))
step("a private repository: its owner's alone; delete_repo")

trusted = f"{me}/trusted"
api.create_repo(trusted, exist_ok=True)
# An identity is for the real Hub, or for the one that is asked.
for audience in ["https://huggingface.co", constants.ENDPOINT]:
    identity = get_oidc_token(provider="github", audience=audience)
    given = exchange_oidc_token(subject_token=identity, resource=trusted)
    workflow = HfApi(token=given["access_token"])
    made = workflow.upload_file(repo_id=trusted, path_or_fileobj=noise(audience, 600_000), path_in_repo="model.gguf")
    check("head", api.model_info(trusted).sha, made.oid)
    refused(HfHubHTTPError, lambda: workflow.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x"))
    refused(HfHubHTTPError, lambda: workflow.create_repo(f"{me}/another"))
refused(BadRequestError, lambda: exchange_oidc_token(subject_token=identity, resource=repo))
refused(BadRequestError, lambda: exchange_oidc_token(subject_token="x", resource=trusted))
step("trusted publishing: an identity for a token of one repository, and of no other")
