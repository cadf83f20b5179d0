import { baseValue, shown, shownPlace, shownTimes } from './format.js';
import { bestOf, judgeGoals } from './goals.js';
import { casesOf, isTimed, type Results } from './input.js';
import { leadOf } from './leads.js';
import { headlineCase } from './tables.js';

/** A number large enough to be read from afar, and what it means. */
export interface Headline {
  number: string;
  words: string;
}

/** The numbers that matter most, as far as they were measured: the first three. */
export function headlines(results: Results): Headline[] {
  return [
    constraintOfStep(results),
    nearestRival(results),
    cpuTrie(results),
    setMemory(results),
    shareOfDecode(results),
  ]
    .filter((headline) => headline !== undefined)
    .slice(0, 3);
}

function constraintOfStep(results: Results): Headline | undefined {
  const one = headlineCase(results);
  const best = bestOf(one);
  const constraint = best?.extras?.constraint;
  if (one === undefined || best === undefined || constraint === undefined) return undefined;
  const step = baseValue(best.spread.p50, best.unit);
  const share = baseValue(constraint.value, constraint.unit) / step;
  return {
    number: shown(constraint.value, constraint.unit),
    words: `is what the constraint adds to a decode step over ${shownPlace('constraints', one.parameters.constraints)} SIDs: ${shown(share, 'share')} of a step of ${shown(best.spread.p50, best.unit)}, most of which normalizes logits`,
  };
}

/** The strongest of the others first: a reader who sees one ratio should see the smallest. */
function nearestRival(results: Results): Headline | undefined {
  const one = headlineCase(results);
  const best = bestOf(one);
  if (one === undefined || best === undefined) return undefined;
  const lead = leadOf(one);
  if (lead === undefined || !lead.isExact) return undefined;
  return {
    number: shownTimes(lead.ratio.median),
    words: `our time is what the fastest rival with the same results takes for that step: ${lead.rival.name}`,
  };
}

function cpuTrie(results: Results): Headline | undefined {
  const points = casesOf(results.suites.get('step'), 'point');
  for (const one of points) {
    const best = bestOf(one);
    const trie = one.rivals.find(({ name }) => name === 'nested-map-all-js');
    const ratio = best && trie?.ratioTo?.[best.name];
    if (trie === undefined || !isTimed(trie) || !ratio) continue;
    return {
      number: shownTimes(ratio.median),
      words: `our time is what the CPU trie takes, nested Maps with everything in JavaScript, over ${shownPlace('constraints', one.parameters.constraints)} SIDs`,
    };
  }
  return undefined;
}

function setMemory(results: Results): Headline | undefined {
  const found = judgeGoals(results).find(({ goal }) => goal.what.startsWith('Memory of one set'));
  if (found?.reading === undefined) return undefined;
  return { number: shown(found.reading.value, 'bytes'), words: 'is what one more set over 20M items takes' };
}

function shareOfDecode(results: Results): Headline | undefined {
  const found = judgeGoals(results).find(({ goal }) => goal.what.includes('share of a whole decode'));
  if (found?.reading === undefined) return undefined;
  return {
    number: shown(found.reading.value, 'share'),
    words: "of a whole decode of the demo's small model is the constraint",
  };
}
