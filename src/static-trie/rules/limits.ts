import { fault } from './fault.js';

export const MAX_RULE_LENGTH = 8192;
export const MAX_RULE_NESTING = 64;
export const MAX_LIST_LENGTH = 10_000;

/** String literals (which may hold anything) and comments: what whoever looks for brackets must skip. */
const SKIPPED =
  /\/\/[^\n]*|(?<![A-Za-z0-9_])[bB]?[rR][bB]?(?:"""[\s\S]*?"""|'''[\s\S]*?'''|"[^"\n]*"|'[^'\n]*')|"""(?:\\[\s\S]|[^\\])*?"""|'''(?:\\[\s\S]|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;

/** The source with spaces in place of its strings and comments: every other character stays where it was. */
export function withoutTexts(source: string): string {
  return source.replace(SKIPPED, (text) => ' '.repeat(text.length));
}

/**
 * Refuses what is too long or too deep before the parser sees it: the parser recurses, and a deep rule
 * would end its stack (or its backtracking its patience).
 * @throws EspalierError ESP_RULE_TOO_LARGE
 */
export function checkSize(source: string): void {
  if (source.length > MAX_RULE_LENGTH) {
    throw tooLarge(MAX_RULE_LENGTH, `at most ${MAX_RULE_LENGTH} characters`, `${source.length}`);
  }
  const code = withoutTexts(source);
  let depth = 0;
  // A ternary recurses at its `:`, and only the end of its bracket ends it.
  const conditionals: number[] = [0];
  let prefixes = 0;
  for (let position = 0; position < code.length; position++) {
    const character = code[position];
    if ('([{'.includes(character)) {
      depth++;
      conditionals.push(0);
    } else if (')]}'.includes(character) && conditionals.length > 1) {
      depth -= 1 + conditionals.pop()!;
    } else if (character === '?') {
      depth++;
      conditionals[conditionals.length - 1]++;
    }
    if (character === '!' || character === '-') prefixes++;
    else if (character.trim() !== '') prefixes = 0;
    if (depth > MAX_RULE_NESTING || prefixes > MAX_RULE_NESTING) throw tooDeep(position);
  }
}

export function tooDeep(position: number, cause?: unknown) {
  return tooLarge(position, `at most ${MAX_RULE_NESTING} levels of nesting`, 'more', cause);
}

export function tooLarge(position: number, expected: string, found: string, cause?: unknown) {
  return fault('ESP_RULE_TOO_LARGE', position, expected, found, cause === undefined ? {} : { cause });
}
