import { boxOf, overlap, type Text } from './drawing.js';

/**
 * Places on a line, each as near as can be to where it wants to be and at least `gap` from the next: those that
 * would meet move apart around their common middle.
 * @param wanted in any order. @returns in the same order, within `low` and `high` where they fit there at all
 */
export function spreadOut(wanted: readonly number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, index) => index).sort((a, b) => wanted[a] - wanted[b] || a - b);
  interface Group {
    members: number[];
    start: number;
  }
  const groups: Group[] = [];
  const placed = ({ members }: Group): number => {
    const offset = members.reduce((sum, index, turn) => sum + wanted[index] - turn * gap, 0) / members.length;
    return Math.max(low, Math.min(offset, high - (members.length - 1) * gap));
  };
  for (const index of order) {
    let group: Group = { members: [index], start: Math.max(low, Math.min(wanted[index], high)) };
    for (let before = groups.at(-1); before !== undefined; before = groups.at(-1)) {
      if (before.start + before.members.length * gap <= group.start + 1e-9) break;
      groups.pop();
      group = { members: [...before.members, ...group.members], start: 0 };
      group.start = placed(group);
    }
    groups.push(group);
  }
  const places = new Array<number>(wanted.length);
  for (const { members, start } of groups) {
    members.forEach((index, turn) => {
      places[index] = start + turn * gap;
    });
  }
  return places;
}

/** The texts that keep clear of each other: the first and the last come first, then from the left. */
export function withoutOverlaps(texts: readonly Text[], gap = 6): Text[] {
  const order = [0, texts.length - 1, ...texts.keys()];
  const kept = new Set<Text>();
  for (const index of order) {
    const text = texts[index];
    if (text === undefined || kept.has(text)) continue;
    const { left, right, ...rest } = boxOf(text);
    const wide = { ...rest, left: left - gap, right: right + gap };
    if ([...kept].every((other) => !overlap(wide, boxOf(other)))) kept.add(text);
  }
  return texts.filter((text) => kept.has(text));
}
