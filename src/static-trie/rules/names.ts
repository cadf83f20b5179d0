/** Words that CEL reserves, and the names that a rule gives a meaning of its own. */
const RESERVED = new Set(
  (
    'true false null in as break const continue else for function if import let loop package namespace ' +
    'return var void while item params now has'
  ).split(' '),
);

/** Whether a rule can read an attribute of this name. */
export function isAttributeName(name: string): boolean {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) && !RESERVED.has(name) && name !== '__proto__';
}

/** The sentence that helps someone who mistyped `name`: the nearest names, or else all (the first 20). */
export function expectedName(what: string, name: string, known: readonly string[]): string {
  if (known.length === 0) return `${what} (there are none)`;
  const near = known
    .map((candidate) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.ceil(candidate.length / 3))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ candidate }) => candidate);
  if (near.length > 0) return `${what}, perhaps ${near.join(' or ')}`;
  const more = known.length > 20 ? `, and ${known.length - 20} more` : '';
  return `${what}: ${known.slice(0, 20).join(', ')}${more}`;
}

/** Levenshtein distance, ignoring case, of at most 64 characters of each. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64).toLowerCase();
  const b = right.slice(0, 64).toLowerCase();
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + (a[i] === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}
