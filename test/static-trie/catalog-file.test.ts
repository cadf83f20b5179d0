import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import {
  type CatalogVersion,
  CatalogVersionBuilder,
  openCatalogFile,
  writeCatalogFile,
} from '../../src/static-trie/index.js';
import { everyType } from '../helpers/every-type.js';
import { seeded } from '../helpers/seed.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-catalog-file-'));

function smallVersion(codebookSizes = [4, 300]): CatalogVersion {
  const builder = new CatalogVersionBuilder(everyType, codebookSizes);
  const last = codebookSizes[1] - 1;
  builder.add({ id: 'b', sid: [1, last], attributes: [true, -3, 1.5, 'Ünï 🎁', 0, ['x', 'y']] }, 1);
  builder.add(
    { id: 'a', sid: [1, last], attributes: [undefined, undefined, undefined, '', undefined, []] },
    2,
  );
  builder.add({ id: 'c', sid: [0, 7], attributes: [false, 2 ** 53 - 1, -0.1, 'x', 1e12, ['y']] }, 3);
  return builder.build();
}

describe('a catalog file', () => {
  it.each([[[4, 300]], [[4, 100_000]], [[2, 262_144]]])(
    'gives back what was written, codebooks %j',
    (sizes) => {
      const path = join(folder, `round-trip-${sizes[1]}`);
      const version = smallVersion(sizes);
      expect(version.ids).toEqual(['c', 'a', 'b']);
      writeCatalogFile(path, version);
      expect(openCatalogFile(path)).toEqual(version);
      expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    },
  );

  it('answers damage anywhere with a typed error, never with other items', () => {
    const path = join(folder, 'damaged');
    const version = smallVersion();
    writeCatalogFile(path, version);
    const bytes = readFileSync(path);
    fc.assert(
      fc.property(
        fc.nat(bytes.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        (place, change, truncate) => {
          const damaged = truncate ? bytes.subarray(0, place) : Buffer.from(bytes);
          if (!truncate) damaged[place] ^= change;
          writeFileSync(path, damaged);
          try {
            // Padding between sections belongs to no section; damage there changes nothing.
            expect(openCatalogFile(path)).toEqual(version);
          } catch (thrown) {
            if (!(thrown instanceof EspalierError)) throw thrown;
            expect(thrown.code).toBe('ESP_ARTIFACT_CORRUPT');
          }
        },
      ),
      seeded('damaged catalog files', 2_000),
    );
  });
});
