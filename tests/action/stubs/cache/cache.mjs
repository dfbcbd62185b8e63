// actions/cache stood in for, over the client that it is made of: npm's @actions/cache. NODE_MODULES says where that is.
import { appendFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const cache = createRequire(`${process.env.NODE_MODULES}/`)('@actions/cache');

const input = (name) => process.env[`INPUT_${name.toUpperCase()}`] ?? '';
export const paths = input('path').split('\n').filter(Boolean);
export const key = input('key');

export async function restore() {
  const found = await cache.restoreCache(paths, key, []);
  // Servers give keys back in their own case.
  const hit = found?.toLowerCase() === key.toLowerCase();
  appendFileSync(process.env.GITHUB_OUTPUT, `cache-primary-key=${key}\ncache-hit=${found ? hit : ''}\n`);
  console.log(hit ? `cache hit: ${key}` : `cache miss: ${key}`);
}

export async function save() {
  await cache.saveCache(paths, key);
  console.log(`cache saved: ${key}`);
}
