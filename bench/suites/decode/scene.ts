import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import {
  attributes,
  type RetailItem,
  readItems,
  readShoppers,
  rules,
  type Shopper,
} from '../../../examples/online-retail/retail.js';
import { historyTokens } from '../../../src/decoder/history-tokens.js';
import { type Model, openModel } from '../../../src/decoder/model.js';
import type { Constraint, Kernel, TrieArrays } from '../../../src/kernels/index.js';
import {
  buildStaticTrie,
  type CatalogVersion,
  type ConstraintSet,
  compileRule,
  constraintSetFromItems,
  evaluateRule,
  itemsOfLeaf,
  openCatalogFile,
  prepareExclusions,
  sidOf,
} from '../../../src/static-trie/index.js';
import { buildRetailCatalog, modelFolder } from '../../../test/helpers/retail.js';
import { facts } from '../../load/facts.js';
import { type DecodeRequest, tokensOfLeaf } from './decoder.js';
import { AllowedSids } from './reference.js';

/** What a request may get: all items, or those of a bundled rule; with those of its history, or without. */
export interface Restriction {
  rule?: string;
  excludesHistory: boolean;
}

/** The retail catalog with its shoppers, and the bundled models as they are asked for. One thread each. */
export class Scene {
  readonly #models = new Map<string, Model>();
  readonly #facts: RetailItem[];

  private constructor(
    readonly catalog: CatalogVersion,
    readonly path: string,
    readonly shoppers: readonly Shopper[],
    items: readonly RetailItem[],
  ) {
    const byId = new Map(items.map((item) => [item.id, item]));
    this.#facts = Array.from(
      { length: catalog.leafItems.itemCount },
      (_, item) => byId.get(catalog.ids.at(item))!,
    );
  }

  static async open(): Promise<Scene> {
    const { path } = await buildRetailCatalog();
    return new Scene(openCatalogFile(path), path, await readShoppers(), await readItems());
  }

  async model(name: string): Promise<Model> {
    const known = this.#models.get(name);
    if (known !== undefined) return known;
    const model = await openModel(modelFolder(name), 1);
    this.#models.set(name, model);
    return model;
  }

  /** Histories of shoppers in turns. */
  requests(model: Model, count: number, from: number): DecodeRequest[] {
    return Array.from({ length: count }, (_, index) => {
      const { historyWithRepeats } = this.shoppers[(from + index) % this.shoppers.length];
      const items = historyWithRepeats.map((id) => this.catalog.ids.find(id));
      return {
        tokens: historyTokens(
          model,
          items.map((item) => sidOf(this.catalog, item)),
        ),
        items,
      };
    });
  }

  /** What ours decodes under; what is excluded is prepared anew for each request. */
  constraintFor(
    { rule, excludesHistory }: Restriction,
    kernel: Kernel,
  ): (request: DecodeRequest) => Constraint {
    const { trie, leafItems } = this.catalog;
    const set = rule === undefined ? null : this.#setOf(rule);
    const live = set?.live ?? null;
    // One object for all requests, as the server has it: native kernels keep what they made of it.
    const shared: Constraint = { trie, live, dead: null };
    if (!excludesHistory) return () => shared;
    return ({ items }) => ({ trie, live, dead: prepareExclusions(leafItems, set, items, kernel.sets).dead });
  }

  /** The same by looking at every item, in tokens: what is right. */
  allowed(restriction: Restriction, model: Model, request: DecodeRequest): AllowedSids {
    return new AllowedSids(this.#allowedSids(restriction, model, request), model.vocabSize);
  }

  /** A trie of its own, in tokens, for rivals that know no sets; for restrictions that are the same for all. */
  dedicatedTrie({ rule }: Restriction, model: Model): TrieArrays {
    const nobody = { tokens: [], items: [] };
    const rows = this.#allowedSids({ ...(rule && { rule }), excludesHistory: false }, model, nobody);
    return buildStaticTrie({
      codebookSizes: new Array<number>(model.levelTokens.length).fill(model.vocabSize),
      rowCount: rows.length,
      codes: Uint32Array.from(rows.flat()),
    }).trie;
  }

  async close(): Promise<void> {
    for (const model of this.#models.values()) await model.close();
    rmSync(dirname(this.path), { recursive: true, force: true });
  }

  #setOf(name: string): ConstraintSet {
    const { trie, leafItems, table } = this.catalog;
    const { rule, params = {} } = rules[name];
    const bits = evaluateRule(compileRule(rule, attributes, params), table, Date.now());
    return constraintSetFromItems(trie, leafItems, bits);
  }

  #allowedSids({ rule, excludesHistory }: Restriction, model: Model, { items }: DecodeRequest): number[][] {
    const excluded = new Set(excludesHistory ? items : []);
    const isAllowed = (item: number) =>
      !excluded.has(item) && (rule === undefined || facts[rule](this.#facts[item]));
    const { trie } = this.catalog;
    return Array.from({ length: trie.leafCount }, (_, leaf) => leaf)
      .filter((leaf) => itemsOfLeaf(this.catalog, leaf).some(isAllowed))
      .map((leaf) => tokensOfLeaf(model, trie, leaf));
  }
}
