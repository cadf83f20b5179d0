import { nativeRivals } from './native-rivals.js';
import { NativeRival } from './request-rival.js';
import type { Idea } from './rival.js';
import { buildSortedSids, type SortedSids, sortedSidsBytes } from './sorted-sids.js';

/*
 * Post-filtering: decode freely, then take away what is no allowed item. It costs what unconstrained decoding costs;
 * what it lacks is items. How full the shelf of k is, is measured beside its time (bench/suites/step/shelf.ts).
 *
 * Made fast: as `unconstrained`; a beam's codes are copied only for winners; after the last step each of the M beams
 * is searched in the sorted SIDs, one binary search a level.
 */

/** Prefixes of beams that steps have led to, used again round and round; those that were located lie before them. */
const RING = 1 << 15;
const LOCATED = 1 << 17;

export const postFilter: Idea<SortedSids> = {
  name: 'post-filter',
  kind: 'rival',
  agreement: 'superset',
  demand: (sids) => ({ bytes: sortedSidsBytes(sids) }),
  build: buildSortedSids,
  start(structures, sids, seats) {
    const { levelCount } = sids[0];
    const slots = LOCATED + RING;
    const prefixes = sids.map(() => new Uint32Array(slots * levelCount));
    const handles = structures.map(({ columns }, table) =>
      nativeRivals().createRival(
        'post-filter',
        [...columns, prefixes[table]],
        [sids[table].leafCount, slots, LOCATED],
      ),
    );
    const located = sids.map(() => 0);
    return new NativeRival(sids, seats, handles, (table, prefix) => {
      const slot = located[table]++;
      if (slot === LOCATED) throw new Error(`more than ${LOCATED} prefixes`);
      prefixes[table].set(prefix, slot * levelCount);
      return { lo: slot, hi: 0 };
    });
  },
};
