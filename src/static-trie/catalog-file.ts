import { basename } from 'node:path';
import { EspalierError } from '../errors.js';
import type { TopLevel } from '../kernels/index.js';
import { wideRows } from './build.js';
import type { CatalogVersion } from './catalog-version.js';
import type { AttributeSchema, AttributeType, Column } from './columns.js';
import { packStrings, unpackStrings } from './packed-strings.js';
import { readSectionFile, type SectionArray, writeSectionFile } from './section-file.js';

const KIND = 'catalog-version';

interface Meta {
  leafCount: number;
  itemCount: number;
  codebookSizes: number[];
  attributes: AttributeSchema;
}

/** Writes a catalog version to one file, durably. */
export function writeCatalogFile(path: string, { trie, leafItems, ids, table }: CatalogVersion): void {
  const sections = new Map<string, SectionArray>();
  sections.set('rows', trie.rows);
  trie.newPrefix.forEach((bits, level) => {
    sections.set(`newPrefix.${level}`, bits);
  });
  trie.topLevels.forEach(({ codes, leafStart, firstChild }, level) => {
    sections.set(`top.${level}.codes`, codes);
    sections.set(`top.${level}.leafStart`, leafStart);
    if (firstChild) sections.set(`top.${level}.firstChild`, firstChild);
  });
  sections.set('itemStart', leafItems.itemStart);
  sections.set('sharedLeaves', leafItems.sharedLeaves);
  sections.set('sharedStart', leafItems.sharedStart);
  addStrings(sections, 'ids', ids);
  const attributes: Record<string, { type: AttributeType }> = {};
  for (const [name, column] of table.columns) {
    attributes[name] = { type: column.type };
    addColumn(sections, `column.${name}`, column);
  }
  const meta: Meta = {
    leafCount: trie.leafCount,
    itemCount: table.itemCount,
    codebookSizes: [...trie.codebookSizes],
    attributes,
  };
  writeSectionFile(path, KIND, { meta, sections });
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind. */
export function openCatalogFile(path: string): CatalogVersion {
  const { meta, sections } = readSectionFile<Meta>(path, KIND);
  const { leafCount, itemCount, codebookSizes } = meta;
  const take = <Type extends SectionArray>(
    name: string,
    type: abstract new (...args: never[]) => Type,
  ): Type => {
    const section = sections.get(name);
    if (section instanceof type) return section;
    throw new EspalierError(
      'ESP_ARTIFACT_CORRUPT',
      `${basename(path)}: section ${name} must be a ${type.name}`,
    );
  };
  const codes = wideRows(codebookSizes) ? Uint32Array : Uint16Array;
  const strings = (name: string) =>
    unpackStrings({
      bytes: take(`${name}.bytes`, Uint8Array),
      offsets: take(`${name}.offsets`, Uint32Array),
    });
  const topLevels = codebookSizes.slice(0, 2).map(
    (_, level, levels): TopLevel => ({
      codes: take<Uint16Array | Uint32Array>(`top.${level}.codes`, codes),
      leafStart: take(`top.${level}.leafStart`, Uint32Array),
      firstChild: level + 1 < levels.length ? take(`top.${level}.firstChild`, Uint32Array) : null,
    }),
  );
  const columns = new Map<string, Column>();
  for (const [name, { type }] of Object.entries(meta.attributes)) {
    const key = `column.${name}`;
    const present = take(`${key}.present`, Uint32Array);
    if (type === 'bool') {
      columns.set(name, { type, present, values: take(`${key}.values`, Uint8Array) });
    } else if (type === 'string' || type === 'string[]') {
      const values = {
        present,
        codes: take(`${key}.codes`, Uint32Array),
        dictionary: strings(`${key}.dictionary`),
      };
      columns.set(
        name,
        type === 'string'
          ? { type, ...values }
          : { type, ...values, offsets: take(`${key}.offsets`, Uint32Array) },
      );
    } else {
      columns.set(name, { type, present, values: take(`${key}.values`, Float64Array) });
    }
  }
  return {
    trie: {
      leafCount,
      levelCount: codebookSizes.length,
      codebookSizes,
      rows: take<Uint16Array | Uint32Array>('rows', codes),
      newPrefix: codebookSizes.map((_, level) => take(`newPrefix.${level}`, Uint32Array)),
      topLevels,
    },
    leafItems: {
      itemCount,
      itemStart: take('itemStart', Uint32Array),
      sharedLeaves: take('sharedLeaves', Uint32Array),
      sharedStart: take('sharedStart', Uint32Array),
    },
    ids: strings('ids'),
    table: { itemCount, columns },
  };
}

function addColumn(sections: Map<string, SectionArray>, key: string, column: Column): void {
  sections.set(`${key}.present`, column.present);
  if ('values' in column) sections.set(`${key}.values`, column.values);
  if ('offsets' in column) sections.set(`${key}.offsets`, column.offsets);
  if ('dictionary' in column) {
    sections.set(`${key}.codes`, column.codes);
    addStrings(sections, `${key}.dictionary`, column.dictionary);
  }
}

function addStrings(sections: Map<string, SectionArray>, key: string, strings: readonly string[]): void {
  const { bytes, offsets } = packStrings(strings);
  // A Buffer is a Uint8Array, but its class would not match the section's type when it is read again.
  sections.set(`${key}.bytes`, new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  sections.set(`${key}.offsets`, offsets);
}
