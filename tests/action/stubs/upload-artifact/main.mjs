// Artifacts of a run are folders in ARTIFACTS: act has no server that the real action can use.
import { cpSync, existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const { INPUT_NAME: name, INPUT_PATH: path, ARTIFACTS, GITHUB_WORKSPACE } = process.env;
const unfound = process.env['INPUT_IF-NO-FILES-FOUND'];
// What the real one refuses.
if (!name || /[":<>|*?\r\n\\/]/.test(name)) throw new Error(`no name of an artifact: ${name}`);
const into = join(ARTIFACTS, name);
if (process.env.INPUT_OVERWRITE === 'true') rmSync(into, { recursive: true, force: true });
if (existsSync(into)) throw new Error(`an artifact of this name is there: ${name}`);
const from = join(GITHUB_WORKSPACE, path);
if (existsSync(from)) {
  cpSync(from, into, { recursive: true });
} else {
  console.log(`::${unfound === 'error' ? 'error' : 'warning'}::no files: ${path}`);
  process.exitCode = unfound === 'error' ? 1 : 0;
}
