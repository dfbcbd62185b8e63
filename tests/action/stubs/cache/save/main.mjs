import { save } from '../cache.mjs';

await save();
