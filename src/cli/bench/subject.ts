import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import {
  type CatalogActivation,
  type ModelManifest,
  type ModelRef,
  readModelManifest,
  type SetSnapshot,
} from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { ModelStore, readServedCatalog, type ServedCatalog } from '../../server/index.js';
import {
  type AttributeSchema,
  CatalogSnapshot,
  ChangeReader,
  catalogOfTrie,
  openCatalogFile,
  openIndexFile,
  type Progress,
  type SetTruth,
  verifyIndexFile,
  writeCatalogFile,
} from '../../static-trie/index.js';

/** Where catalog and model come from. */
export interface SubjectPlaces {
  /** A data directory and its catalog, or a file. */
  source: { dataDir: string; catalog: string | undefined } | { index: string };
  /** The model's own folder, or the folder of all models, where the catalog says which. */
  model: { folder: string } | { modelsDir: string };
}

/** A constraint set that requests can be decoded under. */
export interface SubjectSet {
  /** What the engine calls it. */
  name: string;
  /** What the report calls it. */
  label: string;
  version: number;
  truth: SetTruth;
  nowMs: number;
}

/** The catalog and the model that are measured. */
export interface Subject {
  name: string;
  kind: 'catalog' | 'catalog-version' | 'static-trie';
  version: number;
  model: ModelRef;
  manifest: ModelManifest;
  /** With the small changes, and without sets. */
  snapshot: CatalogSnapshot;
  /** Those in force, in the order of their names; none of a file. */
  sets: readonly SubjectSet[];
  damagedSets: ReadonlyMap<string, EspalierError>;
  /** Another name of a set → the set. */
  aliases: ReadonlyMap<string, string>;
  /** Of the server that uses the data directory now. */
  serverPid: number | undefined;
  activation: CatalogActivation;
}

/** Which file is read, and what is known of it. */
interface Found {
  path: string;
  served: ServedCatalog | undefined;
  model: ModelRef;
  manifest: ModelManifest;
}

/** Finds catalog and model, and reads every byte of the catalog. Writes nothing. */
export async function findSubject({ source, model }: SubjectPlaces, onProgress: Progress): Promise<Found> {
  const served = 'index' in source ? undefined : await readServedCatalog(source.dataDir, source.catalog);
  const path = 'index' in source ? source.index : served!.path;
  const ref = modelRefOf(model, served);
  const manifest = readModelManifest(ref.folder);
  onProgress('verifying', 0);
  verifyIndexFile(path, (fraction) => onProgress('verifying', fraction));
  const { codebookSizes } = openIndexFile(path).trie;
  if (String(codebookSizes) !== String(manifest.sid.codebookSizes)) {
    const expected = `[${manifest.sid.codebookSizes.join(', ')}]`;
    const found = `[${codebookSizes.join(', ')}]`;
    const message = `model ${manifest.name} does not fit ${basename(path)}: expected SIDs of codebook sizes ${expected} (the model's), found ${found}`;
    throw new EspalierError('ESP_MODEL_MISFIT', message, {
      details: [{ field: 'sid.codebookSizes', expected, found }],
    });
  }
  return { path, served, model: { ...ref, name: manifest.name }, manifest };
}

/**
 * Opens what was found. A trie alone becomes a catalog of one item a leaf, in a temporary file.
 * @param use what is removed afterwards is there until then
 */
export async function withSubject<Result>(
  found: Found,
  use: (subject: Subject) => Promise<Result>,
): Promise<Result> {
  const { path, served } = found;
  const { kind, trie } = openIndexFile(path);
  if (kind === 'catalog-version') return use(open(found, path, served === undefined ? kind : 'catalog'));
  const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
  try {
    const file = join(folder, 'catalog.bin');
    writeCatalogFile(file, catalogOfTrie(trie));
    return await use(open(found, file, kind));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A set with its bitmaps, as the engine gets it. @throws EspalierError ESP_RULE_…, ESP_ARTIFACT_CORRUPT */
export function deriveSet({ snapshot, version }: Subject, set: SubjectSet): SetSnapshot {
  const { name, label, truth, nowMs } = set;
  try {
    const derived = snapshot.derive(truth, nowMs);
    return { name, version: set.version, catalogVersion: version, expiresAtMs: null, ...derived };
  } catch (thrown) {
    const { code, message, details } = EspalierError.from(thrown);
    throw new EspalierError(code, `${label}: ${message}`, { cause: thrown, ...(details && { details }) });
  }
}

function open({ served, model, manifest }: Found, path: string, kind: Subject['kind']): Subject {
  const items = openCatalogFile(path);
  const schema: AttributeSchema =
    served?.attributes ??
    Object.fromEntries([...items.table.columns].map(([name, { type }]) => [name, { type }]));
  const { name, version, changes } = served ?? { name: 'index', version: 1, changes: null };
  const asBuilt = CatalogSnapshot.of(items, schema, changes?.after);
  const snapshot =
    changes === null
      ? asBuilt
      : asBuilt.withChanges(new ChangeReader(changes.path, changes.after).catchUp(changes.upTo)).snapshot;
  const { modelInfo } = served ?? {};
  return {
    name,
    kind,
    version,
    model,
    manifest,
    snapshot,
    sets: (served?.sets ?? []).map((set) => ({ ...set, label: set.name })),
    damagedSets: served?.damagedSets ?? new Map(),
    aliases: new Map(served?.aliases.map(({ alias, constraintSet }) => [alias, constraintSet])),
    serverPid: served?.serverPid,
    activation: {
      catalog: name,
      version,
      path,
      model,
      ...(modelInfo && { modelInfo }),
      sets: [],
      changes,
    },
  };
}

function modelRefOf(model: SubjectPlaces['model'], served: ServedCatalog | undefined): ModelRef {
  if ('folder' in model) {
    const { folder } = model;
    if (!existsSync(join(folder, 'model.json'))) {
      const message = `--model: expected a folder with model.json in it, found none in ${folder}`;
      throw new EspalierError('ESP_MODEL_NOT_FOUND', message);
    }
    return { name: basename(folder), version: served?.model.version ?? 1, folder };
  }
  const { name, version } = served!.model;
  return new ModelStore(model.modelsDir).find(name, version);
}
