import { restore } from '../cache.mjs';

await restore();
