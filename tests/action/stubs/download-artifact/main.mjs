// Artifacts of a run are folders in ARTIFACTS. As the real action: a folder of its name for each, none matching is no error.
import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const { INPUT_PATTERN: pattern, INPUT_PATH: path, ARTIFACTS, GITHUB_WORKSPACE } = process.env;
const merge = process.env['INPUT_MERGE-MULTIPLE'] === 'true';
const glob = new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
for (const name of readdirSync(ARTIFACTS).filter((name) => glob.test(name))) {
  cpSync(join(ARTIFACTS, name), merge ? join(GITHUB_WORKSPACE, path) : join(GITHUB_WORKSPACE, path, name), { recursive: true });
}
