import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Decoder, historyTokens, openModel } from 'espalier/decoder';
import * as espalier from 'espalier/static-trie';
import { attributes as schema } from './online-retail/retail.js';

// A model, and a catalog of items with semantic IDs and attributes, from NDJSON.
const retail = new URL('online-retail/', import.meta.url);
const model = await openModel(new URL('models/retail-shared-context/1', retail).pathname, 1);
const file = join(mkdtempSync(join(tmpdir(), 'espalier-')), 'items.ndjson');
writeFileSync(file, gunzipSync(readFileSync(new URL('data/items.ndjson.gz', retail))));
const catalog = await espalier.readItems(file, schema, model.manifest.sid.codebookSizes);
const { trie, leafItems, table, ids } = catalog;

// The items that a rule allows.
const rule = espalier.compileRule('title.contains("CHRISTMAS") && price < params.max', schema, { max: 5 });
const allowed = espalier.evaluateRule(rule, table, Date.now());
const set = espalier.constraintSetFromItems(trie, leafItems, allowed);

// The best of them for somebody who has bought these two.
const history = ['85123A', '22423'].map((id) => espalier.sidOf(catalog, ids.find(id)));
const tokens = historyTokens(model, history);
const [best] = await new Decoder(model).decode([{ trie, set, tokens, beamWidth: 10 }]);
best.leaves.forEach((leaf, rank) => {
  for (const item of espalier.itemsOfLeaf(catalog, leaf)) {
    if (!espalier.setHasItem(leafItems, set, item)) continue;
    const title = espalier.valueAt(table.columns.get('title')!, item);
    console.log(best.scores[rank].toFixed(3), best.sids[rank].join('-'), ids.at(item), title);
  }
});
await model.close();
