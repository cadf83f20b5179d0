import { type ConstraintSet, setByteLength } from '../static-trie/index.js';
import type { SetSnapshot } from './activation.js';

/** What is copied from thread to thread in a millisecond. */
const PORTION_BYTES = 2 ** 20;
/** A set counts for so many at least: its rule is compiled. */
const MIN_SET_BYTES = 2 ** 16;

/** Sets in messages that hold up nobody. Those that share their bitmaps go together, and so go on sharing them. */
export function setPortions(snapshots: readonly SetSnapshot[]): SetSnapshot[][] {
  const portions: SetSnapshot[][] = [];
  const portionOf = new Map<ConstraintSet, SetSnapshot[]>();
  let room = 0;
  for (const snapshot of snapshots) {
    const { set } = snapshot;
    let portion = portionOf.get(set);
    if (portion === undefined) {
      const bytes = Math.max(setByteLength(set), MIN_SET_BYTES);
      if (bytes > room) {
        portions.push([]);
        room = PORTION_BYTES;
      }
      room -= bytes;
      portion = portions.at(-1)!;
      portionOf.set(set, portion);
    }
    portion.push(snapshot);
  }
  return portions;
}
