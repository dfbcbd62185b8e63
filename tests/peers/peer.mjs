// npm's @huggingface/hub against the Hub at HF_ENDPOINT: uploads, changes, downloads, compares bytes.
//
// node peer.mjs FOLDER xet|lfs    works in FOLDER; HF_TOKEN is a write token.
// Prints a line a step; the first difference ends it with exit code 1.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [work, kind] = process.argv.slice(2);
// The package is in FOLDER/../node_modules, not beside this file.
const hub = await import(
  pathToFileURL(createRequire(join(process.cwd(), "here.js")).resolve("@huggingface/hub"))
);
const hubUrl = process.env.HF_ENDPOINT;
const accessToken = process.env.HF_TOKEN;
const useXet = kind === "xet";
const me = (await hub.whoAmI({ hubUrl, accessToken })).name;
const name = `${me}/from-npm-${kind}`;
const to = { repo: name, hubUrl, accessToken };

const step = (text) => console.log(`npm ${kind}: ${text}`);

/** Bytes that differ from place to place and between Xet and LFS, the same in every run. */
function noise(seed, size) {
  const blocks = [];
  for (let i = 0; i * 64 < size; i++) {
    blocks.push(createHash("sha512").update(`${kind} ${seed} ${i}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, size);
}

async function refused(status, call) {
  const error = await call().then(
    () => assert.fail("was not refused"),
    (e) => e,
  );
  assert.equal(error.statusCode, status, error);
}

const files = {
  "README.md": Buffer.from("---\nlicense: apache-2.0\n---\n\n# From npm\n"),
  "config.json": Buffer.from("{}\n"),
  "model-Q4_K_M.gguf": noise(1, 12_345_678),
  "model-Q8_0.gguf": noise(2, 700_001),
  "folder/inner/model.safetensors": noise(3, 1_000_003),
};
const upload = join(work, "upload");
for (const [path, content] of Object.entries(files)) {
  await mkdir(dirname(join(upload, path)), { recursive: true });
  await writeFile(join(upload, path), content);
}

/** The listing, each file by itself, and a snapshot are these files. */
async function sameAs(expected, revision) {
  const tree = {};
  for await (const entry of hub.listFiles({ ...to, recursive: true, revision })) {
    if (entry.type === "file" && entry.path !== ".gitattributes") tree[entry.path] = entry;
  }
  assert.deepEqual(Object.keys(tree).sort(), Object.keys(expected).sort());
  for (const [path, content] of Object.entries(expected)) {
    assert.equal(tree[path].size, content.length, path);
    const sha256 = createHash("sha256").update(content).digest("hex");
    if (tree[path].lfs) assert.equal(tree[path].lfs.oid, sha256, path);
    const blob = await hub.downloadFile({ ...to, path, revision });
    assert.ok(content.equals(Buffer.from(await blob.arrayBuffer())), `bytes of ${path}`);
  }
  const log = console.debug;
  console.debug = () => {};
  const folder = await hub.snapshotDownload({ ...to, revision, cacheDir: join(work, "cache") });
  console.debug = log;
  for (const [path, content] of Object.entries(expected)) {
    assert.ok(content.equals(await readFile(join(folder, path))), `snapshot of ${path}`);
  }
  return tree;
}

const head = async (revision) => (await hub.modelInfo({ name, hubUrl, accessToken, revision, additionalFields: ["sha"] })).sha;

await hub.createRepo(to);
await refused(409, () => hub.createRepo(to));
await refused(403, () => hub.createRepo({ ...to, repo: "somebody-else/model" }));
assert.ok(await hub.repoExists(to));
step("createRepo: makes it once, refuses another's namespace");

const first = await hub.uploadFiles({ ...to, useXet, files: [{ path: ".", content: pathToFileURL(upload) }] });
assert.equal(await head(), first.commit.oid);
const tree = await sameAs(files);
const large = Object.keys(files).filter((path) => path.includes("model"));
assert.deepEqual(Object.keys(tree).filter((path) => tree[path].lfs).sort(), large.sort());
assert.ok(large.every((path) => Boolean(tree[path].xetHash) === useXet));
step(`uploadFiles: a folder of ${large.length} large and 2 small files; listing, downloads and snapshot are the same`);

files["small.txt"] = Buffer.from("small\n");
const second = await hub.uploadFile({ ...to, useXet, file: { path: "small.txt", content: new Blob([files["small.txt"]]) } });
const q8 = files["model-Q8_0.gguf"];
files["model-Q8_0.gguf"] = Buffer.concat([q8.subarray(0, 350_000), Buffer.from("changed"), q8.subarray(350_000)]);
const third = await hub.uploadFile({
  ...to,
  useXet,
  file: { path: "model-Q8_0.gguf", content: new Blob([files["model-Q8_0.gguf"]]) },
  parentCommit: second.commit.oid,
});
await sameAs(files);
step("uploadFile: a small one, a changed large one on its parent");

await refused(412, () =>
  hub.uploadFile({ ...to, useXet, file: { path: "x", content: new Blob(["x"]) }, parentCommit: second.commit.oid }),
);
assert.equal(await head(), third.commit.oid);
step("refused: a stale parent (412); the head is as it was");

const proposed = noise(4, 11_000_000);
const proposal = await hub.commit({
  ...to,
  useXet,
  title: "a proposal",
  isPullRequest: true,
  operations: [
    { operation: "addOrUpdate", path: "proposed.gguf", content: new Blob([proposed]) },
    { operation: "delete", path: "config.json" },
  ],
});
assert.equal(proposal.pullRequestUrl, `${hubUrl}/${name}/discussions/1`);
const { "config.json": _, ...rest } = files;
await sameAs({ ...rest, "proposed.gguf": proposed }, "refs/pr/1");
await sameAs(files);
step("isPullRequest: refs/pr/1 has the change, main does not");

await hub.deleteFile({ ...to, path: "small.txt" });
const { "small.txt": __, ...left } = files;
await sameAs(left);
await sameAs(files, third.commit.oid);
step("deleteFile: gone from main, there in the history");

const whole = files["model-Q4_K_M.gguf"];
for (const xet of [true, false]) {
  const blob = await hub.downloadFile({ ...to, path: "model-Q4_K_M.gguf", xet });
  assert.equal(blob.size, whole.length);
  for (const [start, end] of [[0, 1], [5_000_000, 5_001_000], [whole.length - 10, whole.length]]) {
    const part = Buffer.from(await blob.slice(start, end).arrayBuffer());
    assert.ok(part.equals(whole.subarray(start, end)), `bytes ${start}-${end}`);
  }
}
assert.equal(await hub.downloadFile({ ...to, path: "none.gguf" }), null);
assert.equal(await hub.fileExists({ ...to, path: "none.gguf" }), false);
assert.equal(await hub.fileExists({ ...to, path: "model-Q4_K_M.gguf" }), true);
step("downloadFile in ranges, by Xet and by HTTP: the same bytes; what is not there is null");

const hidden = { ...to, repo: `${name}-private` };
await hub.createRepo({ ...hidden, visibility: "private" });
await hub.uploadFile({ ...hidden, file: { path: "secret.txt", content: new Blob(["secret"]) } });
assert.equal(await (await hub.downloadFile({ ...hidden, path: "secret.txt" })).text(), "secret");
await refused(401, () => hub.downloadFile({ repo: hidden.repo, hubUrl, path: "secret.txt" }));
await hub.deleteRepo(hidden);
assert.equal(await hub.repoExists(hidden), false);
step("a private repository: its owner's alone; deleteRepo");
