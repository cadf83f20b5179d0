/** How wide text is, without a browser: no narrower than common sans-serif fonts draw it. */

const NARROW = "iljtfI.,:;'|!()[]/ ·";
const WIDE = 'mwMWµ%@';

export function textWidth(text: string, size: number): number {
  let ems = 0;
  for (const letter of text) {
    if (NARROW.includes(letter)) ems += 0.36;
    else if (WIDE.includes(letter)) ems += 0.96;
    else if (letter >= 'A' && letter <= 'Z') ems += 0.73;
    else ems += 0.62;
  }
  return ems * size;
}

export function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
