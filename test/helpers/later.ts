import { it } from 'vitest';

/** A test that `npm test` leaves to `npm run test:long`: it starts several servers, and others see most of what it sees. */
export const later = process.env.LONG_TESTS === undefined ? it.skip : it;
