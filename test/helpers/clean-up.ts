import { afterAll } from 'vitest';
import { endLeftovers } from './leftovers.js';

// Set up for every test file, by vitest.config.ts.
afterAll(endLeftovers);
