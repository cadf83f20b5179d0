import { baseValue, markdownTable, shown, shownTimes } from './format.js';
import { bestOf } from './goals.js';
import { type Results, timedOf } from './input.js';
import { comparisonWith, shownComparison } from './ratios.js';
import { headlineCase } from './tables.js';

/** The paper's ratios beside ours: context, since the machines are others. */
export function paperTable(results: Results): string {
  const one = headlineCase(results);
  const best = bestOf(one);
  const ratio = (...names: string[]): string => {
    const found = names.flatMap((name) => {
      const rival = one && timedOf(one).find((other) => other.name === name);
      const ratio = one && best && rival && comparisonWith(one, rival, best.name);
      return ratio ? [`${shownComparison(ratio)} (${name})`] : [];
    });
    return found.length === 0 ? whyNot(names) : found.join('; ');
  };
  const ownConstraint = best?.extras?.constraint;
  /** Beyond the log-sum-exp, as the paper counts: a quotient of two medians, without an interval. */
  const alone = (...names: string[]): string => {
    const found = names.flatMap((name) => {
      const theirs = one?.rivals.find((rival) => rival.name === name)?.extras?.constraint;
      if (theirs === undefined || ownConstraint === undefined || !(ownConstraint.value > 0)) return [];
      const quotient =
        baseValue(theirs.value, theirs.unit) / baseValue(ownConstraint.value, ownConstraint.unit);
      return [`${shownTimes(quotient)} (${name})`];
    });
    return found.length === 0 ? whyNot(names) : found.join('; ');
  };
  const whyNot = (names: readonly string[]): string => {
    const absent = one?.rivals.find(({ name }) => name === names[0]);
    return absent === undefined ? 'not measured yet' : `${absent.status}: ${absent.reason ?? 'not compared'}`;
  };
  const machine = results.suites.get('step')?.machine;
  const here = machine === undefined ? 'here' : `here: ${machine.cores} cores of ${machine.cpu}`;
  return markdownTable(
    ['', 'paper: TPU v6e', here],
    [
      [
        'the constraint of one decode step',
        '33 µs',
        ownConstraint ? shown(ownConstraint.value, ownConstraint.unit) : 'not measured yet',
      ],
      ['the constraint alone, a CPU trie over ours', '948x', alone('nested-map', 'array-trie')],
      [
        'the constraint alone, binary search (PPV) over ours',
        '47x to 1,033x',
        alone('ppv-exact', 'ppv-approximate'),
      ],
      ["the constraint alone, STATIC's layout over ours", '1x, it is theirs', alone('static-csr')],
      ['whole step of a CPU trie over ours', '–', ratio('nested-map-all-js', 'nested-map', 'array-trie')],
      ['whole step of binary search (PPV) over ours', '–', ratio('ppv-exact', 'ppv-approximate')],
      ["whole step of STATIC's layout over ours", '–', ratio('static-csr')],
    ],
  );
}
