/**
 * The first name that comes twice in one object of a JSON text, or undefined. JSON.parse keeps the last of
 * them and says nothing, which could drop a constraint in silence.
 * @param json text that JSON.parse accepts.
 */
export function findRepeatedName(json: string): string | undefined {
  /** The names of each open object; null for an open list. */
  const open: (Set<string> | null)[] = [];
  let nameIsNext = false;
  for (let index = 0; index < json.length; index++) {
    switch (json.charCodeAt(index)) {
      case OPEN_OBJECT:
        open.push(new Set());
        nameIsNext = true;
        break;
      case OPEN_LIST:
        open.push(null);
        nameIsNext = false;
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
        break;
      case COMMA:
        nameIsNext = open[open.length - 1] !== null;
        break;
      case QUOTE: {
        const end = endOfString(json, index);
        if (nameIsNext) {
          const names = open[open.length - 1]!;
          // Parsed, since the same name may be escaped in two ways.
          const name = JSON.parse(json.slice(index, end + 1)) as string;
          if (names.has(name)) return name;
          names.add(name);
          nameIsNext = false;
        }
        index = end;
      }
    }
  }
  return undefined;
}

const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST, COMMA, QUOTE, BACKSLASH] = Array.from(
  '{}[],"\\',
  (character) => character.charCodeAt(0),
);

/** The closing quote of the string that begins at `start`. */
function endOfString(json: string, start: number): number {
  let end = start + 1;
  while (json.charCodeAt(end) !== QUOTE) end += json.charCodeAt(end) === BACKSLASH ? 2 : 1;
  return end;
}
