import type { RivalResult } from '../harness/types.js';
import type { Look } from './svg/drawing.js';

const colours = ['a', 'b', 'c', 'd'] as const;
const marks = ['square', 'triangle', 'diamond', 'cross', 'circle'] as const;

/** Rivals with looks of their own in every chart; others take those that are left. */
const rivalOrder = [
  'static-csr',
  'nested-map',
  'ppv-exact',
  'hash-bitmap',
  'array-trie',
  'nested-map-all-js',
  'ppv-approximate',
  'dense-mask',
  'array-trie-js',
  'post-filter',
  'dedicated-trie',
];

/** How each of a chart's series looks: ours in blue, floors in grey, the others apart from each other. */
export function looksOf(
  rivals: readonly Pick<RivalResult, 'name' | 'kind'>[],
  best: string | undefined,
): Map<string, Look> {
  const looks = new Map<string, Look>();
  let [ours, floors, others] = [0, 0, rivalOrder.length];
  for (const { name, kind } of rivals) {
    if (looks.has(name)) continue;
    if (name === best) {
      looks.set(name, { colour: 'ours', mark: 'circle', dash: '', isThick: true });
    } else if (kind === 'ours') {
      looks.set(name, { colour: 'ours-too', mark: marks[ours++ % marks.length], dash: '', isThick: false });
    } else if (kind === 'floor') {
      looks.set(name, { colour: 'floor', mark: marks[floors++ % marks.length], dash: '5 4', isThick: false });
    } else {
      const known = rivalOrder.indexOf(name);
      const place = known >= 0 ? known : others++;
      const mark = marks[Math.floor(place / colours.length) % marks.length];
      looks.set(name, { colour: colours[place % colours.length], mark, dash: '', isThick: false });
    }
  }
  return looks;
}
