import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { jsSets, wordsFor } from '../../src/kernels/index.js';
import { openTrieFile, verifyIndexFile, writeTrieFile } from '../../src/static-trie/index.js';
import { nativeKernels } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { randomCatalog } from '../helpers/random-catalog.js';
import { readParts, writeParts } from '../helpers/section-parts.js';
import { seeded } from '../helpers/seed.js';

const path = join(mkdtempSync(join(tmpdir(), 'espalier-trie-fuzz-')), 'trie');

/** What is thrown beside errors of ours ends the test. */
function outcome(act: () => void): 'refused' | 'taken' {
  try {
    act();
    return 'taken';
  } catch (thrown) {
    if (thrown instanceof EspalierError) return 'refused';
    throw thrown;
  }
}

/** Uses a trie as sets do, with every kernel: native ones check its structure first. */
function useTrie(): void {
  const trie = openTrieFile(path);
  const leafBits = new Uint32Array(wordsFor(trie.leafCount)).fill(0x5555_5555);
  for (const sets of [jsSets, ...nativeKernels.map((kernel) => kernel.sets)]) {
    outcome(() => {
      sets.deriveLiveLeaves(trie, leafBits);
      sets.countLiveNodes(trie, leafBits);
    });
  }
}

describe('a trie file', () => {
  it('is refused with an error of ours, or stays within its arrays, whatever is in it', () => {
    const counts = { refused: 0, taken: 0 };
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        writeTrieFile(path, randomCatalog(random).trie);
        const honest = readFileSync(path);
        expect(outcome(() => verifyIndexFile(path, () => {}))).toBe('taken');
        let bytes: Buffer = Buffer.from(honest);
        const isHeaderAttack = random.chance(0.5);
        if (isHeaderAttack) {
          // Sections that lie, under checksums that fit.
          const parts = readParts(bytes);
          for (let lie = 0; lie < 1 + random.below(3); lie++) {
            const section = random.pick(parts.sections);
            if (section.data.length > 0)
              section.data[random.below(section.data.length)] ^= 1 << random.below(8);
            if (random.chance(0.1))
              section.data = section.data.subarray(0, random.below(section.data.length + 1));
            if (random.chance(0.1)) section.dtype = random.pick(['u8', 'u16', 'u32', 'f64']);
            if (random.chance(0.1)) parts.sections.splice(random.below(parts.sections.length), 1);
            if (random.chance(0.1))
              parts.meta = random.pick([{}, { leafCount: 5 }, { leafCount: 1e9, codebookSizes: [2] }]);
            if (parts.sections.length === 0) break;
          }
          bytes = writeParts(parts);
        } else if (random.chance(0.5)) {
          bytes[random.below(bytes.length)] ^= 1 << random.below(8);
        } else {
          bytes = bytes.subarray(0, random.below(bytes.length));
        }
        writeFileSync(path, bytes);
        outcome(useTrie);
        const verdict = outcome(() => verifyIndexFile(path, () => {}));
        counts[verdict]++;
        if (!isHeaderAttack) expect(verdict).toBe('refused');
      }),
      seeded('trie file', 400),
    );
    console.log(`trie file: ${counts.refused} refused, ${counts.taken} taken`);
    expect(counts.refused).toBeGreaterThan(0);
  });

  it.each([
    'null',
    '5',
    '[]',
    '{}',
    '"x"',
    '{"kind":"static-trie"}',
    '{"kind":"static-trie","meta":null}',
    '{"kind":"static-trie","meta":{},"sections":null}',
    '{"kind":"static-trie","meta":{},"sections":[null]}',
    '{"kind":"static-trie","meta":{},"sections":[]}',
    '{"kind":null,"meta":{},"sections":[]}',
    '{',
    '',
    '{"kind":"static-trie","meta":{},"sections":[{"name":"rows","dtype":"constructor","offset":0,"length":1,"crc":0}]}',
    '{"kind":"static-trie","meta":{},"sections":[{"name":"rows","dtype":"u8","offset":0,"length":9e15,"crc":0}]}',
    '{"kind":"static-trie","meta":{},"sections":[{"name":"rows","dtype":"u8","offset":-64,"length":1,"crc":0}]}',
  ])('is refused with the header %s', (header) => {
    writeFileSync(path, writeParts({ kind: '', meta: {}, sections: [], header }));
    expect(() => openTrieFile(path)).toThrow(expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }));
  });
});
